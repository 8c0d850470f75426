"""A side of parallel text is a list: what has no order of its own, or is read only once, is refused."""

import pytest

from xalign import ParallelPairs
from xalign.errors import ArgumentTypeError


@pytest.mark.parametrize(
    "side",
    [
        {"Guten Morgen.", "Es regnet."},
        frozenset({"Guten Morgen.", "Es regnet."}),
        {"Guten Morgen.": 1, "Es regnet.": 2},
        {"Guten Morgen.": 1, "Es regnet.": 2}.keys(),
        (text for text in ("Guten Morgen.", "Es regnet.")),
        iter(["Guten Morgen.", "Es regnet."]),
        map(str, ["Guten Morgen.", "Es regnet."]),
    ],
    ids=lambda side: type(side).__name__,
)
def test_sides_without_an_order_of_their_own_are_refused(side):
    """Line i must translate line i: a set has no line i, and an iterator has it once."""
    with pytest.raises(ArgumentTypeError, match=r"de must be a list of strings .* make a list of it first"):
        ParallelPairs({"en": ["Good morning.", "It rains."], "de": side})


def test_a_file_is_refused(tmp_path):
    (tmp_path / "de.txt").write_text("Guten Morgen.\nEs regnet.\n")
    with (
        open(tmp_path / "de.txt") as side,
        pytest.raises(ArgumentTypeError, match=r"de must be a list of strings"),
    ):
        ParallelPairs({"en": ["Good morning.", "It rains."], "de": side})
