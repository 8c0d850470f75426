"""An interval of an effect holds only differences that can be, and is left out where nothing varies."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xalign.judging.evaluation import Evaluation, Observation

share = st.integers(0, 8).map(lambda hits: hits / 8)


def evaluation(before, after, bounds=(0.0, 1.0)):
    """Return what runs of four samples each observed."""
    return Evaluation(
        tuple(
            Observation("deu_Latn", "units", seed, 0, "output_share", "deu_Latn", *values, bounds)
            for seed, values in enumerate(zip(before, after, strict=True))
        )
    )


@given(runs=st.lists(st.tuples(share, share), min_size=1, max_size=4))
def test_intervals_stay_among_possible_differences(runs):
    """Two seeds with effects of 0 and 1 gave [-5.85, 6.85]."""
    before, after = ([np.full(4, value) for value in side] for side in zip(*runs, strict=True))
    row = evaluation(before, after).effect("deu_Latn", "output_share")
    if row["low"] is None:
        assert len({round(b - a, 12) for a, b in runs}) == 1
    else:
        assert -1 <= row["low"] <= row["difference"] <= row["high"] <= 1
        assert row["low"] < row["high"]


def test_no_interval_of_equal_differences():
    """Five seeds without any effect were printed with the interval [+0.000, +0.000]."""
    same = evaluation([np.zeros(4)] * 5, [np.zeros(4)] * 5)
    row = same.effect("deu_Latn", "output_share")
    assert (row["difference"], row["low"], row["high"]) == (0, None, None)
    (cell,) = same.table().columns[5].cells
    assert cell == "+0.000"


def test_without_bounds_nothing_is_cut():
    row = evaluation([np.zeros(4)] * 2, [np.zeros(4), np.full(4, 3.0)], bounds=None).effect(
        "deu_Latn", "output_share"
    )
    assert row["high"] == pytest.approx(1.5 + 12.706 * 1.5, abs=0.01)
