"""Say what `closed_loop.py` has found: a table and a picture of outcome against cost for each world.

    python benchmarks/closed_loop_table.py runs/closed_loop/closed_loop-*.json --picture closed_loop.png

Differences are paired by seed, with 95 % bootstrap intervals. *Over fixed* is the difference from the fixed
duties at the same cost: interpolated between them for each seed, and between no alignment and the smallest.
Forgetting is the mean rise, over languages, of the loss of unseen sentences over the task alone: with the
same seed, and, as a controller judges it, with another seed, whose run is the reference.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from xalign.statistics.intervals import bootstrap_interval

FIXED = ("none", "duty-1/8", "duty-1/4", "duty-1/2", "always")
# Arm -> its colour and its mark in the picture.
DRAWN = {arm: ("0.4", "o") for arm in FIXED} | {
    "loop-4%": ("C1", "s"),
    "loop-2%": ("C1", "^"),
    "loop-1%": ("C1", "v"),
    "replayed": ("C0", "D"),
    "random": ("C0", "X"),
    "steps": ("C2", "P"),
    "duty": ("C4", "<"),
    "guarded": ("C4", ">"),
    "deficit": ("C3", "d"),
    "even-25%": ("C5", "p"),
    "deficit-25%": ("C3", "h"),
}
SIDE_BY_SIDE = [
    *(("loop-4%", other, "zero-shot") for other in ("replayed", "random", "steps", "first loop-4%")),
    ("loop-4%", "first loop-4%", "worst"),
    ("deficit", "always", "worst"),
    *((f"deficit-{kind}", "even-25%", "worst") for kind in ("25%", "equal gains", "half even")),
]


def others(by_language):
    """Return the values of the languages that the task was not taught in."""
    return [value for code, value in by_language.items() if code != "eng_Latn"]


OUTCOMES = {
    "zero-shot": lambda run: np.mean(others(run["accuracy"])),
    "worst": lambda run: min(others(run["accuracy"])),
    "English": lambda run: run["accuracy"]["eng_Latn"],
    "NASCA": lambda run: np.mean(list(run["nasca"].values())),
    "pairs": lambda run: run["pairs"],
    "replayed": lambda run: run["replayed"],
    "CPU s": lambda run: run["cpu_seconds"],  # of fixed arms without measuring, see `World`
}


class World:
    """The runs of one world.

    Args:
        file: What `closed_loop.py` has written.
    """

    def __init__(self, file):
        runs = {key: run for key, run in json.loads(file.read_text()).items() if key != "before"}
        self.name = file.stem.removeprefix("closed_loop-")
        self.arms = list(dict.fromkeys(key.rpartition(" ")[0] for key in runs))
        self.seeds = sorted({int(key.rpartition(" ")[2]) for key in runs})
        self._runs = {key: run | self._cost(key, run) for key, run in runs.items()}

    @staticmethod
    def _cost(key, run):
        """Return a run's CPU seconds: a schedule that is fixed beforehand needs no measurements."""
        is_fixed = key.rpartition(" ")[0] in (*FIXED, "steps", "even-25%")
        return {"cpu_seconds": run["cpu_seconds"] - is_fixed * run.get("measuring", 0.0)}

    def seeds_of(self, *arms):
        """Return the seeds that all of some arms have run."""
        return [seed for seed in self.seeds if all(f"{arm} {seed}" in self._runs for arm in arms)]

    def values(self, arm, outcome, seeds):
        """Return an outcome of an arm for each seed."""
        return np.array([OUTCOMES[outcome](self._runs[f"{arm} {seed}"]) for seed in seeds])

    def forgotten(self, arm, *, same_seed):
        """Return for each seed the share by which losses rose over the task alone."""
        found = []
        for seed in self.seeds_of(arm):
            alone = seed if same_seed else self._after(seed)
            losses = self._runs[f"{arm} {seed}"]["sentence_loss"]
            reference = self._runs[f"none {alone}"]["sentence_loss"]
            found.append(np.mean([losses[code] / reference[code] - 1 for code in losses]))
        return np.array(found)

    @property
    def has_losses(self):
        """Whether losses of text were measured."""
        return all("sentence_loss" in run for run in self._runs.values())

    def _after(self, seed):
        return seed + 1 if seed + 1 in self.seeds else self.seeds[0]

    def over_fixed(self, arm, cost):
        """Return for each seed the zero-shot accuracy above that of fixed duties at the same cost."""
        fixed = [one for one in FIXED if one in self.arms]
        found = []
        for seed in self.seeds_of(arm, *fixed):
            costs, scores = (
                [self.values(one, outcome, [seed])[0] for one in fixed] for outcome in (cost, "zero-shot")
            )
            order = np.argsort(costs)
            at = self.values(arm, cost, [seed])[0]
            mine = self.values(arm, "zero-shot", [seed])[0]
            found.append(mine - np.interp(at, np.array(costs)[order], np.array(scores)[order]))
        return np.array(found)

    def over(self, arm, other, outcome="zero-shot"):
        """Return for each seed by how much an outcome lies above that of another arm."""
        seeds = self.seeds_of(arm, other)
        return self.values(arm, outcome, seeds) - self.values(other, outcome, seeds)


def said(differences):
    """Return a mean with its interval as text."""
    if len(differences) < 2:  # noqa: PLR2004
        return ""
    low, high = bootstrap_interval(differences)
    return f"{differences.mean():+.3f} [{low:+.3f}, {high:+.3f}]"


def table(world):
    """Print the table of a world."""
    print(f"\n{world.name}, seeds {', '.join(map(str, world.seeds))}\n")
    columns = ["arm", "seeds", *OUTCOMES, "over always", "over fixed, at its pairs", "at its CPU time"]
    if world.has_losses:
        columns += ["forgotten, same seed", "largest", "over the reference", "largest"]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for arm in world.arms:
        seeds = world.seeds_of(arm)
        means = [world.values(arm, outcome, seeds).mean() for outcome in OUTCOMES]
        cells = [arm, str(len(seeds))]
        cells += [f"{one:,.0f}" if one > 20 else f"{one:.3f}" for one in means]  # noqa: PLR2004
        is_fixed = arm in FIXED
        cells.append("" if arm == "always" else said(world.over(arm, "always")))
        cells += ["" if is_fixed else said(world.over_fixed(arm, cost)) for cost in ("pairs", "CPU s")]
        for same_seed in (True, False) if world.has_losses else ():
            rises = world.forgotten(arm, same_seed=same_seed)
            cells += [f"{rises.mean():+.2%}", f"{rises.max():+.2%}"]
        print(f"| {' | '.join(cells)} |")
    print()
    for arm, other, outcome in SIDE_BY_SIDE:
        if len(world.seeds_of(arm, other)) > 1:
            print(f"{arm} over {other}, {outcome}: {said(world.over(arm, other, outcome))}")
    for arm in (arm for arm in world.arms if arm.startswith("loop-") and world.has_losses):
        bound = float(arm.removeprefix("loop-").rstrip("%")) / 100
        within = [world.forgotten(arm, same_seed=same) <= bound for same in (False, True)]
        print(
            f"\n{arm}: within its bound of the reference in {within[0].sum()} of {len(within[0])} runs, "
            f"of the task alone with the same seed in {within[1].sum()}"
        )


def draw(worlds, path):
    """Draw zero-shot accuracy against pairs and CPU seconds, with the line of the fixed duties."""
    figure = Figure(figsize=(10.5, 3.6 * len(worlds)), layout="constrained", dpi=150)
    panels = figure.subplots(len(worlds), 2, squeeze=False, sharey="row")
    handles = {}
    for row, world in zip(panels, worlds, strict=True):
        for axes, cost in zip(row, ("pairs", "CPU s"), strict=True):
            handles |= _draw_panel(axes, world, cost)
        row[0].set_ylabel(f"{world.name}: zero-shot accuracy")
    figure.legend(handles.values(), handles.keys(), loc="outside right center", fontsize=8, frameon=False)
    figure.savefig(path)


def _draw_panel(axes, world, cost):
    """Draw one panel, and return arm -> its mark."""
    middle = {
        arm: [world.values(arm, one, world.seeds_of(arm)).mean() for one in (cost, "zero-shot")]
        for arm in world.arms
        if arm in DRAWN
    }
    fixed = [arm for arm in FIXED if arm in middle]
    axes.plot(*zip(*sorted(middle[arm] for arm in fixed), strict=True), color="0.6", zorder=1)
    handles = {}
    for arm, (x, y) in middle.items():
        scores = world.values(arm, "zero-shot", world.seeds_of(arm))
        low, high = bootstrap_interval(scores) if len(scores) > 1 else (y, y)
        color, mark = DRAWN[arm]
        error = axes.errorbar(
            x, y, yerr=[[y - low], [high - y]], fmt=mark, color=color, markersize=5, linewidth=0.8
        )
        if arm in fixed:
            axes.annotate(arm, (x, y), fontsize=7, xytext=(4, -9), textcoords="offset points", color=color)
        else:
            handles[arm] = error
    axes.set_xlabel({"pairs": "pairs trained on", "CPU s": "CPU seconds"}[cost])
    axes.grid(alpha=0.3)
    return handles


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+", help="closed_loop-WORLD.json")
    parser.add_argument("--picture", type=Path, help="the picture to write")
    arguments = parser.parse_args()
    worlds = [World(file) for file in arguments.files]
    for world in worlds:
        table(world)
    if arguments.picture:
        draw(worlds, arguments.picture)
