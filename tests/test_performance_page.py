"""The table of goals in docs/performance.md: a row is what a result file holds, beside its goal."""

import json

import pytest

from tests.benchmark_modules import benchmark


@pytest.fixture(scope="module")
def performance():
    return benchmark("performance_page")


@pytest.mark.parametrize(
    ("at_least", "values", "row"),
    [
        (False, [1.02, 1.04, 1.03], "| it | CPU | ≤ 1.03 | 1.03 | 1.02–1.04 | met |"),
        (False, [1.0304], "| it | CPU | ≤ 1.03 | 1.03 |  | met |"),
        (False, [1.0306], "| it | CPU | ≤ 1.03 | 1.031 |  | **missed** |"),
        (True, [1.02], "| it | CPU | ≥ 1.03 | 1.02 |  | **missed** |"),
        (True, {"median": 1.1, "min": 0.9, "max": 2.0}, "| it | CPU | ≥ 1.03 | 1.1 | 0.9–2 | met |"),
    ],
)
def test_a_row_says_whether_a_goal_is_met(performance, at_least, values, row, tmp_path, monkeypatch):
    monkeypatch.setattr(performance, "ROOT", tmp_path)
    goal = performance.Goal("it", "it", "of/runs", 1.03, at_least=at_least)
    missing = performance.Goal("not run", "not_run", "of/runs", 1.0)
    monkeypatch.setattr(performance, "GOALS", [goal, missing])
    goal.path.parent.mkdir(parents=True)
    goal.path.write_text(json.dumps({"of": {"runs": values}}))
    assert performance.table().splitlines()[2:] == [row]
    performance.draw(tmp_path / "it.png")
    assert (tmp_path / "it.png").stat().st_size > 0
