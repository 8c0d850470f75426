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
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from page_part import with_part

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "performance.md"


@dataclass(frozen=True)
class Goal:
    """What a benchmark has to reach, and where its result lies.

    `at` is the path of keys in the result file, such as "arms/repeng/times_as_fast". What lies there are the
    values of all runs, or their median, min and max; `made` turns anything else into such values.
    """

    what: str
    file: str
    at: str
    goal: float
    at_least: bool = False
    on: str = "CPU"
    made: Callable[[Any], Any] = lambda found: found

    @property
    def path(self) -> Path:
        """Where the benchmark's results lie."""
        return ROOT / "benchmarks" / "results" / f"{self.file}.json"

    def found(self) -> tuple[float, float, float]:
        """Return the median, the smallest and the largest value."""
        found = json.loads(self.path.read_text(encoding="utf-8"))
        for key in self.at.split("/"):
            found = found[key]
        values = self.made(found)
        if isinstance(values, dict):
            return values["median"], values["min"], values["max"]
        return statistics.median(values), min(values), max(values)

    def is_met(self) -> bool:
        """Return whether the median reaches the goal, both with the digits that are shown."""
        median = self.found()[0]
        return shown(median) >= self.goal if self.at_least else shown(median) <= self.goal


AtLeast = partial(Goal, at_least=True)


def shown(value: float) -> float:
    """Return a value as the table shows it."""
    return round(value, 3)


def padding(found: dict[str, int]) -> list[float]:
    """Return the share of padding among the tokens that are run."""
    return [1 - found["tokens"] / found["run"]]


def inverse(values: list[float]) -> list[float]:
    """Return the ratios the other way round."""
    return [1 / one for one in values]


STEERED = "parts/generate {}/steered_by_plain/{}"
GOALS = [
    Goal("Measuring ÷ bare forwards, 135M", "measure_overhead", "measured_by_bare", 1.03),
    *(
        Goal(f"The same, {shape}", f"measure_overhead_{name}", "measured_by_bare", 1.03)
        for shape, name in (
            ("360M", "360m"),
            ("GPT-2", "gpt2"),
            ("a small MoE", "moe"),
            ("e5-small", "encoder"),
        )
    ),
    Goal("Share of padding, 135M", "padding", "135M", 0.06, made=padding),
    Goal("Share of padding, e5-small", "padding", "e5-small", 0.06, made=padding),
    Goal("Pairs to the middle block ÷ a plain batch", "alignment_step", "middle ÷ plain", 0.45),
    Goal("Pairs at every block ÷ a plain batch", "alignment_step", "all ÷ plain", 1.05),
    AtLeast("Branch of mid-align's fork ÷ ours", "alignment_step", "middle ÷ fork", 1.3, made=inverse),
    Goal("Transport ÷ contrastive step", "transport_step", "transport ÷ contrastive", 1.5),
    Goal("The same, all blocks, debiased", "transport_step_all", "transport ÷ contrastive", 1.5),
    Goal("A step with the callback ÷ without", "callback_share", "between/ratios", 1.0),
    AtLeast("Steered ÷ plain generation, `set`, 135M", "generate_cpu", STEERED.format("135M", "set"), 0.95),
    AtLeast("scikit-learn's average precision ÷ ours", "average_precision", "times_as_fast", 40),
    Goal("Peak memory, 50 ÷ 2 languages", "memory", "languages/ratios", 1.03),
    AtLeast("One process ÷ each of two", "scaling", "processes/ratios", 1.8),
    AtLeast("LAPE's program ÷ `language_neurons`", "language_neuron_speed", "times_as_fast", 2.0),
    AtLeast("repeng ÷ `language_vectors`", "vector_extraction", "arms/repeng/times_as_fast", 1.5),
    AtLeast(
        "steering-vectors ÷ `language_vectors`",
        "vector_extraction",
        "arms/steering-vectors/times_as_fast",
        1.5,
    ),
    AtLeast("MEXA's program ÷ ours", "against_reference", "arms/MEXA alone/times_as_fast", 2.0),
    AtLeast("The same for four metrics", "against_reference", "arms/four metrics/times_as_fast", 1.95),
    AtLeast(
        "MEXA's program ÷ ours, 1B", "against_reference_h100", "arms/MEXA alone/times_as_fast", 20, on="GPU"
    ),
    Goal("Measuring ÷ bare forwards, 1B", "gpu_h100", "parts/measure 1B/measured_by_bare", 1.03, on="GPU"),
    Goal("Measuring ÷ bare forwards, 8B", "gpu_h100", "parts/measure 8B/measured_by_bare", 1.03, on="GPU"),
    AtLeast("Steered ÷ plain generation, `set`, 1B", "gpu_h100", STEERED.format("1B", "set"), 0.95, on="GPU"),
    AtLeast(
        "Steered ÷ plain generation, `zero`, 1B", "gpu_h100", STEERED.format("1B", "zero"), 0.95, on="GPU"
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
    return with_part(page, "performance_page", table())


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
