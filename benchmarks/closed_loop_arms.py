"""What is compared in the benchmarks of the closed loop: each arm is a controller, by name."""

import json
from fractions import Fraction

import numpy as np

from xalign.control.decision import Decision
from xalign.control.deficit import Deficit
from xalign.control.duty import Duty
from xalign.control.fixed import Fixed, Listed, Random
from xalign.control.guarded import Guarded
from xalign.control.loop import Loop
from xalign.control.record import load_decisions

FIXED = ("always", "duty-1/2", "duty-1/4", "duty-1/8")
BOUNDED = ("loop-1%", "loop-2%", "loop-4%")
LATE = ("replayed", "random")  # they need the decisions of a loop
# With 25 % of the pairs of `always`: even shares, and three ways to share by deficit.
WITH_BUDGET = ("even-25%", "deficit-25%", "deficit-equal gains", "deficit-half even")
ARMS = ("none", *FIXED, "steps", *BOUNDED, "duty", "deficit", "guarded", *LATE, *WITH_BUDGET)
MAIN, BOUND = "loop-4%", 0.04  # the loop whose decisions are replayed, and its bound
DEFICITS = {"equal gains": {"prior": 1e9}, "half even": {"prior": 1e9, "floor": 0.5}}
ON, MAINTAINED = 0.3, 1 / 4  # of the step schedule: aligned at every step at first, then at one in four


class Seeds:
    """The seeds of a benchmark.

    Args:
        first: The first.
        end: The one after the last.
    """

    def __init__(self, first, end):
        self.all = range(first, end)

    def after(self, seed):
        """Return the seed after this one, and the first after the last."""
        return self.all[(self.all.index(seed) + 1) % len(self.all)]


def steps(signals, decisions):  # noqa: ARG001
    """Align at every step of the first part of the run, and keep that up with few pairs."""
    now = signals[-1]
    return Decision(now.step, duty=1.0 if now.progress < ON else MAINTAINED, reason="as listed")


def controller_of(arm, target, folder, seed, seeds):
    """Return the controller of an arm, for a seed; those of earlier runs are in a folder."""
    name, _, amount = arm.partition("-")
    return {
        "none": lambda: Fixed(Decision(weight=0.0)),
        "always": Fixed,
        "even": Fixed,
        "duty": lambda: Fixed(Decision(duty=float(Fraction(amount)))) if amount else Duty(target),
        "steps": lambda: steps,
        "loop": lambda: Loop(target, float(amount.rstrip("%")) / 100),
        "deficit": lambda: Deficit(target, **DEFICITS.get(amount, {})),
        "guarded": lambda: Guarded(BOUND),
        "replayed": lambda: Listed(load_decisions(folder / f"{MAIN}-{seeds.after(seed)}")),
        "random": lambda: Random(*mean_of_loop(folder, seed), seed=seed),
    }[name]()


def mean_of_loop(folder, seed):
    """Return the mean duty and replay of the loop with the same seed."""
    decisions = load_decisions(folder / f"{MAIN}-{seed}")
    return [float(np.mean([getattr(one, name) for one in decisions])) for name in ("duty", "replay")]


def run_missing(kept, arms, seeds, train):
    """Run what a file of results lacks, and note it there.

    The others need what `none` has measured, and some of them what the loop has decided.
    """

    def read():
        return json.loads(kept.read_text()) if kept.exists() else {}

    kept.parent.mkdir(parents=True, exist_ok=True)
    for group in (["none"], [arm for arm in ARMS if arm not in ("none", *LATE)], LATE):
        for seed in seeds.all:
            for arm in (arm for arm in group if arm in arms):
                if f"{arm} {seed}" not in read():
                    one = train(arm, seed)
                    kept.write_text(json.dumps(read() | {f"{arm} {seed}": one}, indent=1))
                    shown = {code: round(value, 3) for code, value in one["accuracy"].items()}
                    print(arm, seed, shown, flush=True)
