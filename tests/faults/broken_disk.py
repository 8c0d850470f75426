"""A disk on which the k-th call that xalign makes fails."""

import builtins
import errno
import io
import os
import sys
from contextlib import contextmanager
from pathlib import Path

import xalign

PACKAGE = str(Path(xalign.__file__).parent)
CALLS = [
    (builtins, "open"),
    (io, "open"),
    *(
        (os, name)
        for name in (
            *("open", "replace", "rename", "fsync", "link", "mkdir", "rmdir", "unlink", "remove", "stat"),
            *("lstat", "listdir", "scandir", "chmod", "ftruncate", "write", "utime", "close", "fdopen"),
        )
    ),
]
ERRORS = [errno.ESTALE, errno.EIO, errno.EACCES, errno.ENOSPC]


class BrokenDisk:
    """Counts the calls to the file system that are made below xalign, and has some of them fail.

    Args:
        at: The first call that fails, from 0; none where None.
        code: The error.
        lasting: Whether all calls after it fail too, until `repaired` is set.
    """

    def __init__(self, at=None, code=errno.EIO, *, lasting=False):
        self.at, self.code, self.lasting = at, code, lasting
        self.count, self.failed, self.repaired = 0, [], False

    def __enter__(self):
        self._originals = [(home, name, getattr(home, name)) for home, name in CALLS]
        for home, name, original in self._originals:
            setattr(home, name, self._failing(name, original))
        return self

    def __exit__(self, *error):
        for home, name, original in self._originals:
            setattr(home, name, original)

    def _failing(self, name, original):
        def call(*args, **kwargs):
            if not _is_below_xalign(sys._getframe(1)):
                return original(*args, **kwargs)
            number, self.count = self.count, self.count + 1
            fails = self.at is not None and (number >= self.at if self.lasting else number == self.at)
            if fails and not self.repaired:
                self.failed.append(name)
                if name == "close":  # the descriptor is closed in any case
                    original(*args, **kwargs)
                raise OSError(self.code, os.strerror(self.code), args[0] if args else None)
            return original(*args, **kwargs)

        return call


def _is_below_xalign(frame):
    while frame is not None:
        if frame.f_code.co_filename.startswith(PACKAGE):
            return True
        # What a trainer does for itself is not ours, even where one of our methods made it log.
        if "transformers/trainer" in frame.f_code.co_filename:
            return False
        frame = frame.f_back
    return False


@contextmanager
def raising(error):
    """Has every warning raised as an error, as `python -W error` does, where asked to."""
    import warnings

    with warnings.catch_warnings():
        if error:
            warnings.simplefilter("error")
        else:
            warnings.simplefilter("ignore")
        yield
