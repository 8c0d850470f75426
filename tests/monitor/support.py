"""Make docs/support.md from the results of the matrix's tests.

pytest tests/monitor/test_matrix.py -m "slow or not slow" --junitxml=matrix.xml
python -m tests.monitor.support matrix.xml
"""

import re
import sys
import xml.etree.ElementTree as ET
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path

from tests.monitor.cells import FACTORS, NOT_RUN, SLOW, is_quick, name_of
from tests.support_page import OTHERS, PAGE

PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes")
HEAD = """# what runs with what

This page is made from test results, by `python -m tests.monitor.support`. Do not edit it by hand.

Each cell is a setting that was trained twice: once with the callback, which measured before the first step
and after each step, and once without it. **run** means that

- losses and final weights were equal to the bit,
- the run had learnt something and had drawn random numbers,
- all processes had the same scores, where there were two.

**not run** is explained below.

Everything ran on CPUs. DDP and FSDP2 are two processes with gloo. FSDP2 is `DistributedConfig(fsdp_size=2)`.
What ran on a GPU is said in [performance](performance.md#on-one-gpu).
"""
REFUSED = """
## Refused, with the reason

| what | why |
|---|---|
| DeepSpeed ZeRO-3 | cannot be run here; ZeRO-1 and 2, DDP and FSDP2 keep whole weights where a layer runs |
| FSDP1 | cannot be run on CPUs; FSDP2 is its successor |
| tensor parallelism | each process holds only its part of the neurons |
| `nn.DataParallel` | what happens in the copies cannot be seen |
| several callbacks of one name | their keys would be the same |
"""


def results_of(path: Path) -> dict[tuple[str, ...], str]:
    """Return cell -> `run`, or `failed`."""
    found = {}
    for case in ET.parse(path).iter("testcase"):
        named = re.fullmatch(r"test_observe_only\[(.*)\]", case.get("name") or "")
        if named:
            passed = not any(child.tag in ("failure", "error", "skipped") for child in case)
            found[tuple(named[1].split())] = "run" if passed else "failed"
    return found


def page_of(results: dict[tuple[str, ...], str]) -> str:
    """Return the page."""
    names = list(FACTORS)
    first, last = names.index("weights"), names.index("launch")
    trainers = FACTORS["trainer"] + SLOW["trainer"]
    groups = defaultdict(list)
    for cell, result in results.items():
        groups[cell[0], cell[first], cell[last]].append(result)
    versions = ", ".join(f"{package} {version(package).split('+')[0]}" for package in PACKAGES)
    lines = [HEAD, f"\nWith {versions}.\n", "\n## Trainer × weights × launch\n"]
    columns = [(weights, launch) for launch in FACTORS["launch"] for weights in FACTORS["weights"]]
    lines.append("| | " + " | ".join(f"{weights}, {launch}" for weights, launch in columns) + " |")
    lines.append("|---" * (len(columns) + 1) + "|")
    for trainer in trainers:
        cells = []
        for weights, launch in columns:
            outcomes = groups.get((trainer, weights, launch), [])
            cells.append("not run" if not outcomes else "run" if set(outcomes) == {"run"} else "**failed**")
        lines.append(f"| {trainer} | " + " | ".join(cells) + " |")
    lines.append("\n## Not run, and why\n\n| together | why |\n|---|---|")
    lines += [f"| {', '.join(levels)} | {why} |" for levels, why in NOT_RUN.items()]
    lines.append(REFUSED)
    lines.append("\n## Every cell\n\nCI runs those marked ● (`make thorough`), `make slow` the others.\n")
    lines.append("| " + " | ".join(names) + " | |")
    lines.append("|---" * (len(names) + 1) + "|")
    order = sorted(results, key=lambda cell: (not is_quick(cell), trainers.index(cell[0]), cell))
    lines += [f"| {' | '.join(cell)} | {results[cell]}{' ●' if is_quick(cell) else ''} |" for cell in order]
    return "\n".join(lines) + "\n"


def cells_on(page: str) -> dict[str, str]:
    """Return cell -> result, as in the last table of the page."""
    rows = page.split("## Every cell")[1].splitlines()
    split = [[part.strip() for part in row.strip("|").split("|")] for row in rows if row.startswith("| ")]
    return {name_of(parts[:-1]): parts[-1].removesuffix(" ●") for parts in split[1:]}


if __name__ == "__main__":
    page, before = page_of(results_of(Path(sys.argv[1]))), PAGE.read_text(encoding="utf-8")
    for part in OTHERS:
        page = part.put(page, part.on(before))
    PAGE.write_text(page, encoding="utf-8")
