from hypothesis import given
from hypothesis import strategies as st

from xalign.metrics.scale import Scale
from xalign.results.standing import standing
from xalign.statistics.intervals import known_interval

UP, DOWN = Scale("Up"), Scale("Down", higher_is_better=False)
number = st.floats(-2, 2)
intervals = st.tuples(number, number).map(sorted).map(tuple)


@given(interval=intervals, bars=st.lists(number, min_size=1, max_size=3))
def test_against_every_point_of_the_interval(interval, bars):
    low, high = interval
    found = standing(interval, bars, UP)
    has_width = known_interval(low, high) == interval
    assert (found == "better") == (has_width and low > max(bars))
    assert (found == "worse") == (has_width and high < max(bars))
    mirrored = standing((-high, -low), [-bar for bar in bars], DOWN)
    assert mirrored == found


def test_without_a_bar_nothing_is_said():
    assert standing((0.2, 0.3), [], UP) is None
