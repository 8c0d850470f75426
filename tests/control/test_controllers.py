"""Every controller on simulated runs: bounds, noise, shocks, convergence, and nothing kept between calls."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.control.plant import CODES, Plant, on_its_way, still
from tests.quick import one_in
from xalign.control import CONTROLLERS
from xalign.control.controller import Controller, resolve_controller
from xalign.control.decision import Decision, Schedule
from xalign.control.deficit import Deficit
from xalign.control.duty import Duty
from xalign.control.fixed import Fixed, Listed, Random
from xalign.control.guarded import Guarded, forgetting, heading_of
from xalign.control.loop import Loop, decided
from xalign.control.signals import Estimate, Signals
from xalign.errors import ArgumentError, ArgumentTypeError

ALL = [
    *(Loop(), Loop(deficit=True), Loop("+0.3", 0.01)),
    *(Duty(), Duty("half the gap"), Deficit(), Guarded(), Fixed(), Random()),
]
SEEDS = range(8)
names = pytest.mark.parametrize("controller", ALL, ids=lambda one: one.name)


def scores():
    return st.floats(0, 1).map(lambda value: Estimate(value, max(0, value - 0.05), min(1, value + 0.05)))


@st.composite
def runs(draw):
    """Signals of any kind: scores, losses, rates and counts that follow no law."""
    looks = draw(st.integers(1, 8))
    first = dict.fromkeys(CODES, Estimate(0.1, 0.05, 0.15))
    added = [{code: draw(st.integers(0, 10**6)) for code in CODES} for _ in range(looks)]
    return [
        Signals(
            step=25 * look,
            max_steps=200,
            alignment=first if not look else {code: draw(scores()) for code in CODES},
            guard={"eng_Latn": draw(st.floats(0.1, 20))},
            learning_rate=draw(st.one_of(st.none(), st.floats(0, 1))),
            pairs={code: sum(one[code] for one in added[:look]) for code in CODES},
        )
        for look in range(looks)
    ]


@pytest.mark.thorough
@names
@given(runs())
@settings(max_examples=60, deadline=None)
def test_bounds_are_never_left(controller, signals):
    """A `Decision` refuses what is out of range; the bounds of the controller are narrower."""
    for number, decision in enumerate(decided(controller, signals)):
        assert decision.step == signals[number].step
        assert decision.reason
        if controller.name in ("duty", "loop"):
            assert controller.lowest <= decision.duty <= 1
        if decision.shares:
            assert set(decision.shares) == set(CODES)
            assert min(decision.shares.values()) >= 0.25 / len(CODES) - 1e-9


@pytest.mark.thorough
@names
@given(runs(), st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_the_order_of_languages_has_no_effect(controller, signals, order):
    shuffled = []
    for one in signals:
        codes = list(one.alignment)
        order.shuffle(codes)
        shuffled.append(
            replace(
                one,
                alignment={code: one.alignment[code] for code in codes},
                pairs={code: one.pairs[code] for code in reversed(codes)},
            )
        )
    for mine, other in zip(decided(controller, signals), decided(controller, shuffled), strict=True):
        assert replace(mine, shares={}, reason="") == replace(other, shares={}, reason="")
        assert mine.shares == pytest.approx(other.shares)


@names
def test_nothing_is_kept_between_calls(controller):
    """Resumed at any look, with other runs decided in between, it decides the same."""
    signals, decisions = Plant().run(controller)
    Plant(seed=5, gain=0.001).run(controller)
    for count in (1, 2, 7, len(signals)):
        assert controller.decide(signals[:count], decisions[: count - 1]) == decisions[count - 1]


@names
def test_listed_repeats_a_run_to_the_bit(controller):
    signals, decisions = Plant().run(controller)
    again, repeated = Plant().run(Listed(tuple(decisions)))
    assert again == signals
    assert repeated == decisions


@pytest.mark.thorough
@pytest.mark.parametrize(
    "ahead", [0.0, *(pytest.param(one, marks=pytest.mark.slow) for one in (-0.2, 0.02, 0.1))]
)
@pytest.mark.parametrize("runs", one_in(2, [60, 200]))
@pytest.mark.parametrize("controller", [Duty(), Loop()], ids=lambda one: one.name)
def test_noise_alone_changes_a_duty_in_few_runs(controller, runs, ahead):
    """Of runs in which every true score goes along its way; one beside it settles first."""
    changed = 0
    for seed in range(runs):
        signals = on_its_way(0.8, ahead, noise=0.02, seed=seed, looks=24)
        changed += len({one.duty for one in decided(controller, signals)[8:]}) > 1
    assert changed <= 0.05 * runs


@pytest.mark.parametrize("target", [0.5, 0.7])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_target_is_reached_in_time_and_held_with_few_pairs(seed, target):
    signals, _ = Plant(seed=seed, max_steps=1500).run(Duty(target))
    late = [one for one in signals if one.progress >= 0.85]
    assert min(one.alignment[code].value for one in late for code in CODES) > target - 0.15
    assert signals[-1].all_pairs < 0.5 * 32 * 1500
    early = next(one for one in signals if one.progress >= 0.5)
    assert early.all_pairs < 0.5 * signals[-1].all_pairs


def test_a_target_at_once_is_aimed_at_with_every_step_until_it_is_held():
    signals, decisions = Plant(max_steps=1500).run(Duty(0.7, first=1.0, deadline=0))
    held = next(n for n, one in enumerate(signals) if min(x.value for x in one.alignment.values()) > 0.75)
    assert {one.duty for one in decisions[:held]} == {1.0}
    assert decisions[-1].duty < 1


@pytest.mark.parametrize("seed", SEEDS)
def test_it_recovers_from_a_shock(seed):
    """One language falls far; the duty rises again until it holds."""
    signals, decisions = Plant(seed=seed, max_steps=1000).run(Duty(0.7))
    assert decisions[-1].duty < 1
    fallen = [
        replace(
            signals[-1],
            step=signals[-1].step + 25 * more,
            alignment=signals[-1].alignment | {"deu_Latn": Estimate(0.4, 0.35, 0.45)},
        )
        for more in range(1, 13)
    ]
    after = decided(Duty(0.7), [*signals, *fallen])
    assert after[-1].duty == 1.0
    assert "deu_Latn" in after[len(signals) + 1].reason


@pytest.mark.parametrize("seed", SEEDS)
def test_pairs_go_where_they_are_needed(seed):
    """With a quarter of the pairs, the weakest language ends higher than with even shares."""
    slow = dict.fromkeys(CODES, 0.02) | {"zho_Hans": 0.006}
    ends = {}
    for controller in (Deficit(), Fixed()):
        signals, _ = Plant(seed=seed, gain=slow, max_steps=150).run(controller)
        ends[controller.name] = min(found.value for found in signals[-1].alignment.values())
    assert ends["deficit"] > ends["fixed"]


@pytest.mark.parametrize("bound", [0.01, 0.02, 0.04])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_run_ends_within_its_bound(seed, bound):
    signals, decisions = Plant(seed=seed).run(Guarded(bound))
    assert forgetting(signals)[-1] <= bound
    assert any(one.replay < 1 for one in decisions)


def test_a_rise_that_comes_down_by_itself_is_not_held_against_a_run():
    plant = Plant(forgets=0.0, transient=0.05)
    signals, decisions = plant.run(Guarded(0.02))
    assert max(forgetting(signals)) > 0.02
    assert (
        max(abs(heading_of(signals[:count], decisions[: count - 1])) for count in range(4, len(signals)))
        < 0.005
    )
    assert decisions[-1].replay == Guarded().lowest_replay and decisions[-1].duty == 1


def test_what_the_task_alone_does_is_not_held_against_a_run():
    signals, _ = Plant(forgets=0.0, transient=0.05).run(Guarded(0.02))
    known = [replace(one, guard_alone={"eng_Latn": one.guard["eng_Latn"]}) for one in signals]
    assert forgetting(known) == [0.0] * len(known)
    assert decided(Guarded(0.001), known)[-1].replay == Guarded().lowest_replay


def test_without_replay_pairs_alone_hold_a_bound():
    signals, decisions = Plant(documents=0, forgets=0.0001).run(Guarded(0.02))
    assert {one.replay for one in decisions[1:]} == {1.0}
    assert decisions[-1].duty < 1
    assert forgetting(signals)[-1] < 0.02 < forgetting(Plant(documents=0, forgets=0.0001).run(Fixed())[0])[-1]


def risen(*looks):
    """A run whose guarded losses lie by these shares above those of the task alone, by language."""
    alone = {"eng_Latn": 1.0, "deu_Latn": 2.0}
    return [
        replace(
            still(0.5, noise=0.0, looks=1)[0],
            step=25 * number,
            max_steps=250,
            guard={code: alone[code] * (1 + rise) for code, rise in zip(alone, rises, strict=True)},
            guard_alone=alone,
            replayed=number,
        )
        for number, rises in enumerate(looks)
    ]


def test_replay_is_reduced_after_two_measurements_and_raised_after_one():
    none, much = (0.0, 0.0), (0.05, 0.05)
    found = decided(Guarded(0.02), risen(none, none, much, none, none, none))
    # Nothing twice: half. Much once: at once more. Nothing once: no change. Nothing twice, and again.
    assert [one.replay for one in found] == [1.0, 0.5, 1.0, 1.0, 1.0, 0.5]
    assert [one.duty for one in found] == [1.0, 1.0, 0.5, 0.5, 1.0, 1.0]


@given(
    st.lists(st.tuples(st.integers(1, 40), st.floats(0, 1), st.booleans()), max_size=6), st.integers(0, 99)
)
def test_steps_with_alignment_are_counted_without_a_walk(lengths, last):
    schedule, step = Schedule(), lengths[0][0] if lengths else 0
    for length, duty, is_on in lengths:
        schedule.add(Decision(step, duty=duty, weight=float(is_on)))
        step += length
    assert schedule.aligned_steps(last) == sum(schedule.at(one).aligns_at(one) for one in range(last))


def test_of_your_own():
    def half(signals, decisions):
        return Decision(signals[-1].step, duty=0.5, reason="half")

    controller = resolve_controller(half, CONTROLLERS)
    assert isinstance(controller, Controller) and controller.name == "half"
    assert Plant().run(controller)[1][3].duty == 0.5
    assert resolve_controller("loop", CONTROLLERS) == Loop()
    with pytest.raises(ArgumentError, match="control='lop' must be one of loop, duty"):
        resolve_controller("lop", CONTROLLERS)
    with pytest.raises(ArgumentTypeError, match="control=3 must be a name"):
        resolve_controller(3, CONTROLLERS)


def test_a_target_that_makes_no_sense_is_refused():
    first = still(0.5, noise=0.0, looks=1)
    with pytest.raises(
        ArgumentError, match=r"target=0\.1 is below the scores before training \(.*deu_Latn 0\.20"
    ):
        Duty(0.1).decide(first, [])
    with pytest.raises(
        ArgumentError, match=r"target='\+0\.9': from 0\.20 on that is 1\.10, and 1 is perfect"
    ):
        Duty("+0.9").decide(first, [])
    for wrong in (0, 1.2, -1, "much", "+2"):
        with pytest.raises(ArgumentError, match="target="):
            Duty(wrong)


def test_random_draws_of_the_mean_that_is_asked_for():
    drawn = [Random(0.25, 0.5, seed).decide(still(0.5, looks=1), []) for seed in range(400)]
    assert abs(sum(one.duty for one in drawn) / 400 - 0.25) < 0.03
    assert abs(sum(one.replay for one in drawn) / 400 - 0.5) < 0.05
