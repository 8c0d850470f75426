"""The matrix of releases: what its script makes of results, and, where it is asked for, the matrix itself."""

import os
import re

import pytest

from tests.support_page import PAGE, VERSIONS
from tests.versions.run import LIBRARIES, SETS, counted, updated

NAMES = [path.stem for path in sorted(SETS.glob("*.txt"))]
RESULTS = """<testsuites><testsuite>
<testcase classname="a" name="passes"/>
<testcase classname="a" name="fails"><failure message="no"/></testcase>
<testcase classname="a" name="breaks"><error message="no"/></testcase>
<testcase classname="a" name="lacks"><skipped message="transformers before 5.0: no experts"/></testcase>
<testcase classname="a" name="waits"><skipped message="there is no CUDA device"/></testcase>
</testsuite></testsuites>"""


def test_results_are_counted(tmp_path):
    (tmp_path / "results.xml").write_text(RESULTS)
    counts, lacks = counted(tmp_path / "results.xml")
    assert counts == {"passed": 1, "failed": 2, "skipped": 2}
    assert lacks == {"transformers before 5.0: no experts"}


def test_a_row_takes_the_place_of_an_older_one():
    page = PAGE.read_text(encoding="utf-8")
    once = updated(page, "oldest", "| oldest | tests/ | 1 |", {"torch before 3: b"})
    twice = updated(once, "oldest", "| oldest | tests/ | 2 |", {"peft before 3: a"})
    part = VERSIONS.on(twice)
    assert "| oldest | tests/ | 2 |" in part and "| oldest | tests/ | 1 |" not in part
    assert part.index("- peft before 3: a") < part.index("- torch before 3: b")
    assert twice.replace(part, "") == page.replace(VERSIONS.on(page), "")


@pytest.mark.parametrize("name", NAMES)
def test_a_set_pins_each_library_once(name):
    pins = re.findall(r"^([\w-]+)==[\w.]+$", (SETS / f"{name}.txt").read_text(), re.MULTILINE)
    assert len(pins) == len(set(pins)) and {"torch", "transformers"} <= set(pins)
    assert set(pins) <= {*LIBRARIES, "trackio"}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_set_passes(name):
    """An hour each, and gigabytes: only those that are named are run."""
    if name not in os.environ.get("XALIGN_VERSIONS", "").split():
        pytest.skip("XALIGN_VERSIONS does not name this set")
    from tests.versions.run import main

    assert main([name]) == 0
