"""A file whose write breaks off in the middle."""


class Torn:
    """Writes the first half of what it is given, then calls `between`, which may raise, then the rest."""

    def __init__(self, file, between):
        self._file, self._between = file, between

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._file.close()

    def __getattr__(self, name):
        return getattr(self._file, name)

    def write(self, data):
        self._file.write(data[: len(data) // 2])
        self._file.flush()
        self._between()
        self._file.write(data[len(data) // 2 :])
        return len(data)
