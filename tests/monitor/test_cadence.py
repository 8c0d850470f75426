"""Cadences, on a clock of their own."""

import math

import pytest

from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.monitor.cadence import FIRST_LOOK, Cadence


class Clock:
    now = 5.0

    def __call__(self):
        return self.now


def simulate(cadence, clock, steps, per_step, cost, at_start=True, resumed=math.nan):
    """The steps measured, and the share after each measurement that the cadence asked for."""
    cadence.begin(0, resumed)
    measured, shares = [], []
    if at_start:
        clock.now += cost(0)
        cadence.measured(0, cost(0))
    for step in range(1, steps + 1):
        clock.now += per_step(step)
        if cadence.is_due(step):
            clock.now += cost(step)
            cadence.measured(step, cost(step))
            measured.append(step)
            shares.append(cadence.share)
    return measured, shares


@pytest.mark.thorough
@pytest.mark.parametrize("max_share", [0.005, 0.02, 0.3])
@pytest.mark.parametrize(("per_step", "cost"), [(0.5, 3.0), (0.01, 20.0), (4.0, 0.2)])
def test_auto_keeps_to_its_share(max_share, per_step, cost):
    clock = Clock()
    cadence = Cadence("auto", max_share, clock=clock)
    steps = max(400, round(20 * cost / max_share / per_step))
    measured, shares = simulate(cadence, clock, steps, lambda _: per_step, lambda _: cost)
    assert len(measured) >= 10
    assert max(shares) <= max_share
    # And it makes use of it: one measurement more would not have fitted long before the end.
    possible = max_share * steps * per_step / (1 - max_share) / cost
    assert len(measured) + 1 >= 0.9 * min(possible, steps - FIRST_LOOK) - 1


def test_auto_follows_steps_that_become_faster_and_measurements_that_become_slower():
    clock = Clock()
    cadence = Cadence("auto", 0.02, clock=clock)
    measured, shares = simulate(
        cadence,
        clock,
        20_000,
        lambda step: 0.5 if step < 5000 else 0.1,
        lambda step: 1.0 if step < 9000 else 2.0,
    )
    # But for the measurement that took twice as long as all before it.
    assert sum(share > 0.02 for share in shares) <= 1
    assert measured[-1] > 15_000


def test_auto_without_a_first_measurement_makes_one_to_know():
    clock = Clock()
    measured, shares = simulate(
        Cadence("auto", 0.02, clock=clock), clock, 5000, lambda _: 0.5, lambda _: 3.0, at_start=False
    )
    assert measured[0] == FIRST_LOOK
    assert max(shares[1:]) <= 0.02


def test_a_number_is_obeyed_exactly_and_advice_is_given_once():
    clock = Clock()
    cadence = Cadence(10, 0.02, clock=clock)
    cadence.begin(0)
    clock.now += 20.0
    cadence.measured(0, 20.0)  # at the start, which `every` does not decide
    said = []
    for step in range(1, 101):
        clock.now += 0.5
        if cadence.is_due(step):
            clock.now += 5.0
            cadence.measured(step, 5.0)
            said.append((step, cadence.advice(step)))
    assert [step for step, _ in said] == list(range(10, 101, 10))
    assert [line for _, line in said if line] == [
        "xalign: measuring every 10 steps takes 50% of the time from one measurement to the next; every=490 "
        "would keep it to 2%. Of the run so far, it took 75% (alignment_share)"
    ]
    cheap = Cadence(490, 0.02, clock=clock)
    cheap.begin(0)
    for step in range(1, 1961):
        clock.now += 0.5
        if cheap.is_due(step):
            clock.now += 5.0
            cheap.measured(step, 5.0)
            assert cheap.advice(step) is None


@pytest.mark.parametrize("every", [0, -3])
def test_bad_input(every):
    with pytest.raises(ArgumentError, match="must be at least 1"):
        Cadence(every)
    with pytest.raises(ArgumentError, match="max_share=0"):
        Cadence("auto", 0)
    with pytest.raises(ArgumentError, match="at_steps=.* must be at least 1"):
        Cadence(at_steps=[10, every])
    for wrong in ("10", 10):
        with pytest.raises(ArgumentTypeError, match="must be a list of steps"):
            Cadence(at_steps=wrong)


@pytest.mark.parametrize("every", [None, 7, "log"])
def test_listed_steps_come_beside_the_cadence(every):
    doubled = {1, 2, 4, 8, 16, 32}
    expected = {None: set(), 7: {7, 14, 21, 28, 35}, "log": doubled}[every] | {5, 30}
    cadence = Cadence(every, at_steps=[30, 5, 5])
    assert {step for step in range(40) if cadence.is_due(step)} - {0} == expected


def test_auto_keeps_to_its_share_where_a_run_resumes():
    """It knows what a measurement takes from before, and makes none until the time is there."""
    clock = Clock()
    cadence = Cadence("auto", 0.02, clock=clock)
    measured, shares = simulate(
        cadence, clock, 2000, lambda _: 1.0, lambda _: 5.0, at_start=False, resumed=5.0
    )
    assert measured[0] == pytest.approx(5 / 0.02 - 5, abs=1)
    assert max(shares) <= 0.02 and len(measured) >= 7
