"""`Calls`: against counting the micro-batches of a trainer one by one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.training.calls import Calls


def counted(per_step, per_epoch, every, steps):
    """(step, micro-step) -> number of earlier calls, as a trainer goes through its data."""
    found, calls, left = {}, 0, per_epoch
    for step in range(steps):
        size = per_step if left is None else min(per_step, left)
        for micro_step in range(size):
            if (step * per_step + micro_step + 1) % every == 0:
                found[step, micro_step] = calls
                calls += 1
        if left is not None:
            left = left - size or per_epoch
    return found


@settings(max_examples=200)
@given(st.integers(1, 5), st.none() | st.integers(1, 13), st.integers(1, 4))
def test_calls_are_counted_over_epochs_whose_last_step_is_short(per_step, per_epoch, every):
    calls = Calls(per_step, per_epoch, every)
    for place, expected in counted(per_step, per_epoch, every, steps=20).items():
        assert calls.before(*place) == expected


def test_what_is_refused():
    with pytest.raises(ArgumentError, match=r"micro_step=1, and a step has 1 call\(s\): epochs over the"):
        Calls().before(0, 1)
    with pytest.raises(ArgumentError, match="per_step=0 must be at least 1"):
        Calls(per_step=0)
    with pytest.raises(ArgumentTypeError, match="per_epoch=2.5 must be a whole number"):
        Calls(per_epoch=2.5)
