"""Which values of a test the default run takes, where all of them would take long."""

import pytest


def one_in(n, values):
    """The values as parameters of a test: every nth runs by default, and all of them with `-m slow`."""
    rows = [value if isinstance(value, tuple) else (value,) for value in values]
    return [
        pytest.param(*row, marks=pytest.mark.slow if number % n else ()) for number, row in enumerate(rows)
    ]


def one_each(rows, values):
    """Rows × values as parameters of a test: by default each row has one of the values, in turn."""
    rows = [row if isinstance(row, tuple) else (row,) for row in rows]
    n = len(values)
    return one_in(
        n, [(*row, values[(number + turn) % n]) for number, row in enumerate(rows) for turn in range(n)]
    )
