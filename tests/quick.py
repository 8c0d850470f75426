"""Which values of a test the default run takes, where all of them would take long."""

import pytest


def one_in(n, values):
    """The values as parameters of a test: every nth runs by default, and all of them with `-m slow`."""
    rows = [value if isinstance(value, tuple) else (value,) for value in values]
    return [
        pytest.param(*row, marks=pytest.mark.slow if number % n else ()) for number, row in enumerate(rows)
    ]
