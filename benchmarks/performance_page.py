r"""Set every goal of speed and memory beside what was measured.

    python benchmarks/performance_page.py                # prints the table
    python benchmarks/performance_page.py --write        # and puts it into docs/performance.md
    python benchmarks/performance_page.py --picture docs/pictures/performance.png

Nothing is run: the numbers are those of the files in `results/`. A benchmark without such a file has no row.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- made by benchmarks/performance_page.py -->\n", "<!-- until here -->\n"


@dataclass(frozen=True)
class Goal:
    """What a benchmark has to reach: its result file without suffix, and how to read the values there."""

    what: str
    file: str
    values: Callable[[Any], Any]  # gives the values of all runs, or their median, min and max
    goal: float
    at_least: bool = False
    on: str = "CPU"

    @property
    def path(self) -> Path:
        """Where the benchmark's results lie."""
        return ROOT / "benchmarks" / "results" / f"{self.file}.json"

    def found(self) -> tuple[float, float, float]:
        """Return the median, the smallest and the largest value."""
        values = self.values(json.loads(self.path.read_text(encoding="utf-8")))
        if isinstance(values, dict):
            return values["median"], values["min"], values["max"]
        return statistics.median(values), min(values), max(values)

    def is_met(self) -> bool:
        """Return whether the median reaches the goal, both with the digits that are shown."""
        median = self.found()[0]
        return shown(median) >= self.goal if self.at_least else shown(median) <= self.goal


def shown(value: float) -> float:
    """Return a value as the table shows it."""
    return round(value, 3)


def padding(of: str) -> Callable[[Any], list[float]]:
    """Return how to read the share of padding tokens of one way to make batches."""
    return lambda found: [1 - found[of]["tokens"] / found[of]["run"]]


GOALS = [
    Goal("Measuring ÷ bare forwards, 135M", "measure_overhead", lambda it: it["measured_by_bare"], 1.03),
    Goal("Share of padding, 135M", "padding", padding("135M"), 0.06),
    Goal("Share of padding, e5-small", "padding", padding("e5-small"), 0.06),
    Goal(
        "Pairs to the middle block ÷ a plain batch", "alignment_step", lambda it: it["middle ÷ plain"], 0.45
    ),
    Goal("Pairs at every block ÷ a plain batch", "alignment_step", lambda it: it["all ÷ plain"], 1.05),
    Goal(
        "Branch of mid-align's fork ÷ ours",
        "alignment_step",
        lambda it: [1 / one for one in it["middle ÷ fork"]],
        1.3,
        at_least=True,
    ),
    Goal("A step with the callback ÷ without", "callback_share", lambda it: it["between"]["ratios"], 1.0),
    Goal(
        "Steered ÷ plain generation, `set`, 135M",
        "generate_cpu",
        lambda it: it["parts"]["generate 135M"]["steered_by_plain"]["set"],
        0.95,
        at_least=True,
    ),
    Goal(
        "scikit-learn's average precision ÷ ours",
        "average_precision",
        lambda it: it["times_as_fast"],
        40,
        at_least=True,
    ),
    Goal("Peak memory, 50 ÷ 2 languages", "memory", lambda it: it["languages"]["ratios"], 1.03),
    Goal("One process ÷ each of two", "scaling", lambda it: it["processes"]["ratios"], 1.8, at_least=True),
    Goal(
        "LAPE's program ÷ `language_neurons`",
        "language_neuron_speed",
        lambda it: it["times_as_fast"],
        2.0,
        at_least=True,
    ),
    *(
        Goal(
            f"{name} ÷ `language_vectors`",
            "vector_extraction",
            lambda it, name=name: it["arms"][name]["times_as_fast"],
            1.5,
            at_least=True,
        )
        for name in ("repeng", "steering-vectors")
    ),
    Goal(
        "MEXA's program ÷ ours",
        "against_reference",
        lambda it: it["arms"]["MEXA alone"]["times_as_fast"],
        2.0,
        at_least=True,
    ),
    Goal(
        "The same for four metrics",
        "against_reference",
        lambda it: it["arms"]["four metrics"]["times_as_fast"],
        1.95,
        at_least=True,
    ),
    Goal(
        "MEXA's program ÷ ours, 1B",
        "against_reference_h100",
        lambda it: it["arms"]["MEXA alone"]["times_as_fast"],
        20,
        at_least=True,
        on="GPU",
    ),
    *(
        Goal(
            f"Measuring ÷ bare forwards, {shape}",
            "gpu_h100",
            lambda it, shape=shape: it["parts"][f"measure {shape}"]["measured_by_bare"],
            1.03,
            on="GPU",
        )
        for shape in ("1B", "8B")
    ),
    *(
        Goal(
            f"Steered ÷ plain generation, `{operator}`, 1B",
            "gpu_h100",
            lambda it, operator=operator: it["parts"]["generate 1B"]["steered_by_plain"][operator],
            0.95,
            at_least=True,
            on="GPU",
        )
        for operator in ("set", "zero")
    ),
]


def measured() -> list[Goal]:
    """Return the goals whose benchmark was run."""
    return [one for one in GOALS if one.path.exists()]


def table() -> str:
    """Return the table of the page."""
    lines = ["| what | on | goal | median | range | |", "|---|---|---|---|---|---|"]
    for one in measured():
        median, low, high = map(shown, one.found())
        spread = f"{low:g}–{high:g}" if low < high else ""
        sign = "≥" if one.at_least else "≤"
        met = "met" if one.is_met() else "**missed**"
        lines.append(f"| {one.what} | {one.on} | {sign} {one.goal:g} | {median:g} | {spread} | {met} |")
    return "\n".join(lines) + "\n"


def updated(page: str) -> str:
    """Return the page with the table in its place."""
    before, after = page.index(BEGIN) + len(BEGIN), page.index(END)
    return page[:before] + "\n" + table() + "\n" + page[after:]


def draw(path: Path) -> None:
    """Draw how far each result is from its goal."""
    goals = measured()[::-1]
    figure = Figure(figsize=(8, 1.2 + 0.32 * len(goals)), layout="constrained", dpi=150)
    axes = figure.subplots()
    for row, one in enumerate(goals):
        # More is better on this axis, whatever the goal asks for.
        median, *ends = (value / one.goal if one.at_least else one.goal / value for value in one.found())
        met = one.is_met()
        axes.plot(ends, [row, row], color="0.6", linewidth=1.5, zorder=1)
        axes.scatter(
            median, row, marker="o" if met else "X", s=42, color="#0072B2" if met else "#D55E00", zorder=2
        )
    axes.axvline(1, color="0.2", linewidth=1, linestyle="--")
    axes.set_xscale("log", base=2)
    axes.set_xticks([0.25, 0.5, 1, 2, 4], ["¼", "½", "the goal", "2 ×", "4 ×"])
    axes.set_yticks(range(len(goals)), [one.what.replace("`", "") + f" ({one.on})" for one in goals])
    axes.set_xlabel("result relative to its goal; further right is better")
    axes.set_title("● met   ✕ missed   line: range of the runs", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    parser.add_argument("--picture", type=Path, help="draw the table there")
    arguments = parser.parse_args()
    print(table())
    if arguments.write:
        PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    if arguments.picture:
        draw(arguments.picture)
