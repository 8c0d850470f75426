"""Make the part of docs/support.md on frameworks from the results of their tests, a row at a time.

Where a framework pins other versions, it has an environment of its own, and so has the run of this file:

pytest tests/integrations --junitxml=frameworks.xml
python -m tests.integrations.support frameworks.xml
"""

import re
import sys
import xml.etree.ElementTree as ET
from importlib.metadata import version
from pathlib import Path

from tests.support_page import FRAMEWORKS, PAGE

HEAD = f"""{FRAMEWORKS.title}

Made from test results by `python -m tests.integrations.support`, on CPUs. [What each needs](integrations.md).

**run** means that its test passed, with these versions. In each training, the losses and weights were equal
to the bit with and without xalign, and the log had the values.

| framework | what ran | with | |
|---|---|---|---|
"""
OWN = "20 steps by its own"
# Framework -> its tests, what they run, and which versions count.
ROWS = {
    "axolotl": (
        ["test_axolotl.test_twenty_steps", "test_axolotl.test_twenty_steps_with_a_loss"],
        f"{OWN} command, measured, and with an alignment loss",
        ["axolotl", "transformers", "torch"],
    ),
    "LLaMA-Factory": (
        ["test_llamafactory.test_twenty_steps"],
        f"{OWN} command and by the launcher",
        ["llamafactory", "transformers", "torch"],
    ),
    "Lightning": (
        ["test_lightning.test_twenty_steps", "test_lightning.test_the_entry_point_adds_nothing_unless_asked"],
        f"{OWN} `Trainer.fit`",
        ["lightning", "transformers", "torch"],
    ),
    "ms-swift": (
        ["test_ms_swift.test_twenty_steps"],
        f"{OWN} command",
        ["ms-swift", "transformers", "torch"],
    ),
    "torchtitan": (
        ["test_torchtitan.test_a_model_of_torchtitan_beside_its_validation"],
        "its validator with its Llama 3; not its `Trainer`, which needs an accelerator",
        ["torchtitan", "torch"],
    ),
    "OLMo-core": (["test_olmo_core.test_twenty_steps"], f"{OWN} `Trainer.fit`", ["ai2-olmo-core", "torch"]),
    "Unsloth": (
        [
            "test_unsloth.test_it_measures_what_the_model_without_patches_would_give",
            "test_unsloth.test_training_is_the_same_to_the_bit_with_and_without_the_callback",
        ],
        "20 steps of a `Trainer` under an emulation of its patches; not Unsloth itself, which needs a GPU",
        ["peft", "transformers", "torch"],
    ),
}


def results_of(path: Path) -> dict[str, bool]:
    """Return file.test -> whether it passed; tests that were skipped are left out."""
    found = {}
    for case in ET.parse(path).iter("testcase"):
        if case.find("skipped") is None:
            name = f"{(case.get('classname') or '').rpartition('.')[2]}.{case.get('name')}"
            found[name] = case.find("failure") is None and case.find("error") is None
    return found


def rows_on(page: str) -> dict[str, str]:
    """Return framework -> its row, as it stands on the page."""
    rows = re.findall(r"^\| ([^|]+) \|.*$", FRAMEWORKS.on(page), re.MULTILINE)
    lines = [line for line in FRAMEWORKS.on(page).splitlines() if line.startswith("| ")]
    return {name: line for name, line in zip(rows, lines, strict=True) if name in ROWS}


def row_of(framework: str, passed: bool) -> str:
    """Return the row of a framework in this environment."""
    _, what, packages = ROWS[framework]
    versions = ", ".join(f"{package} {version(package).split('+')[0]}" for package in packages)
    return f"| {framework} | {what} | {versions} | {'run' if passed else '**failed**'} |"


def updated(page: str, results: dict[str, bool]) -> str:
    """Return the page with the rows of the frameworks whose tests all ran."""
    rows = rows_on(page)
    for framework, (tests, _, _) in ROWS.items():
        if all(test in results for test in tests):
            rows[framework] = row_of(framework, all(results[test] for test in tests))
    lines = [rows[framework] for framework in ROWS if framework in rows]
    return FRAMEWORKS.put(page, HEAD + "\n".join(lines) + "\n\n\n")


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    for path in sys.argv[1:]:
        page = updated(page, results_of(Path(path)))
    PAGE.write_text(page, encoding="utf-8")
