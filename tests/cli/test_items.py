"""`xalign items`: a table, JSON, a saved report, and what is refused."""

import json

import pytest

import xalign as package
from tests.cli.test_cli import xalign

ROWS = [
    {"context": f"It rains on day {k}.", "options": ["I get wet.", "I fly."], "gold": k % 2} for k in range(4)
]


@pytest.fixture
def tasks(tmp_path):
    for code in ("eng_Latn", "deu_Latn"):
        lines = "".join(json.dumps(row) + "\n" for row in ROWS)
        (tmp_path / "tasks").mkdir(exist_ok=True)
        (tmp_path / "tasks" / f"{code}.jsonl").write_text(lines)
    return tmp_path / "tasks"


def test_a_table_and_a_report(model_folder, tasks, tmp_path):
    common = ("items", model_folder, tasks, "--languages", "de", "--device", "cpu")
    done = xalign(*common, "--answers", "--out", tmp_path / "report")
    assert done.exit_code == 0, done.stderr
    assert "dali_strong" in done.stdout and "Are aligned items solved" in done.stdout
    saved = package.AlignmentReport.load(tmp_path / "report")
    assert saved.measured == ["dali", "dali_strong", "mexa_t"]
    printed = json.loads(xalign(*common, "--answers", "--json", "--n", "3").stdout)
    assert printed["answers"][0]["n"] == 3 and printed["alignment"][0]["metric"] == "dali"


def test_what_is_refused(model_folder, tasks):
    (tasks / "deu_Latn.jsonl").write_text(json.dumps(ROWS[0] | {"options": ["So.", "So."]}) * 1 + "\n")
    done = xalign("items", model_folder, tasks)
    assert done.exit_code == 2 and "different numbers of items" in done.stderr
