"""Make the part of docs/support.md that says in which ways of decoding steering works.

pytest tests/steering/test_decoding.py --junitxml=decoding.xml
python -m tests.steering.support decoding.xml
"""

import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

from tests.steering.decoding import MODES, PADDINGS, POLICIES, REFUSED
from tests.tiny import ROOT

PAGE = ROOT / "docs" / "support.md"
TITLE, NEXT = "## Steering × decoding", "## Every cell"
HEAD = f"""{TITLE}

Made from test results by `python -m tests.steering.support`.

Each cell is a way of decoding in which a vector was added at the tokens that `positions=` names, with prompts
padded on the left, on the right and not at all. **equal** means that the logits of every new token differ by
less than 0.0001 from those of whole sequences, recomputed without a cache and edited by absolute position.
**refused** means an error that says what to give instead.
"""


def results_of(path: Path) -> dict[tuple[str, str, str], bool]:
    """Return (way, padding, policy) -> whether the test passed."""
    found = {}
    for case in ET.parse(path).iter("testcase"):
        named = re.fullmatch(r"test_decoding\[(.*)-(\w+)-(\w+)\]", case.get("name") or "")
        if named:
            failed = any(child.tag in ("failure", "error", "skipped") for child in case)
            found[named[1], named[2], named[3]] = not failed
    return found


def section_of(results: dict[tuple[str, str, str], bool]) -> str:
    """Return the section."""
    lines = [HEAD, "| | " + " | ".join(f"`{policy}`" for policy in POLICIES) + " |"]
    lines.append("|---" * (len(POLICIES) + 1) + "|")
    for mode in MODES:
        cells = []
        for policy in POLICIES:
            passed = all(results.get((mode, padding, policy), False) for padding in PADDINGS)
            expected = "refused" if (mode, policy) in REFUSED else "equal"
            cells.append(expected if passed else "**failed**")
        lines.append(f"| {mode} | " + " | ".join(cells) + " |")
    reasons = {}
    for (mode, _), why in REFUSED.items():
        reasons[mode] = why
    lines.append("\n| refused | why |\n|---|---|")
    lines += [f"| {mode} | {why} |" for mode, why in reasons.items()]
    return "\n".join(lines) + "\n\n\n"


def section_on(page: str) -> str:
    """Return the section as it stands on the page; nothing where it does not."""
    start = page.find(TITLE)
    return "" if start < 0 else page[start : page.index(NEXT)]


def with_section(page: str, section: str) -> str:
    """Return the page with another section in its place."""
    before = section_on(page)
    page = page.replace(before, "") if before else page
    at = page.index(NEXT)
    return page[:at] + section + page[at:]


if __name__ == "__main__":
    found = section_of(results_of(Path(sys.argv[1])))
    PAGE.write_text(with_section(PAGE.read_text(encoding="utf-8"), found), encoding="utf-8")
