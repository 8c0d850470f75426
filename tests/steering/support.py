"""Make the part of docs/support.md that says in which ways of decoding steering works.

pytest tests/steering/test_decoding.py --junitxml=decoding.xml
python -m tests.steering.support decoding.xml
"""

import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

from tests.steering.decoding import MODES, PADDINGS, POLICIES, REFUSED
from tests.support_page import PAGE, STEERING

HEAD = f"""{STEERING.title}

Made from test results by `python -m tests.steering.support`.

Each row is a way of decoding, and each column is a value of `positions=`. A vector was added at the tokens
that `positions=` names. Each cell was run with prompts padded on the left, on the right and not padded.

- **equal**: the logits of every new token differ by less than 0.0001 from those of a reference. The reference
  runs the whole sequence without a cache, and is edited at the same token positions.
- **refused**: an error. The last table of this section gives the reason and the way out.
"""
MEANINGS = {
    "sliding and full": "some layers see only a window of the last tokens, and the others see all tokens",
    "prefix cache by hand": "your own forward fills a cache with the first tokens of the prompt, and "
    "then `generate` gets this cache and the whole prompt",
    "second turn": "`generate` is called again with the longer conversation and the cache of the first call",
    "second generate": "`generate` is called again without a cache, and its prompt is the output of the "
    "first call",
}
WAYS_OUT = {
    "guidance": 'use `positions="all"` or a function of `tokens.ids`',
    "assisted by early exit": 'use another `assistant_model`, or `positions="all"`',
    "continuous batching": "call `generate` with a padded batch",
}


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
    lines.append("\n| way of decoding | what it means |\n|---|---|")
    lines += [f"| {mode} | {meaning} |" for mode, meaning in MEANINGS.items()]
    reasons = {mode: why for (mode, _), why in REFUSED.items()}
    lines.append("\n| refused | why | way out |\n|---|---|---|")
    lines += [f"| {mode} | {why} | {WAYS_OUT[mode]} |" for mode, why in reasons.items()]
    return "\n".join(lines) + "\n\n\n"


if __name__ == "__main__":
    found = section_of(results_of(Path(sys.argv[1])))
    PAGE.write_text(STEERING.put(PAGE.read_text(encoding="utf-8"), found), encoding="utf-8")
