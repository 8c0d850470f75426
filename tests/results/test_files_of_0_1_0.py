"""Files that 0.1.0 wrote still load, with the numbers that 0.1.0 gave for them."""

import json
import re
import shutil

import pytest

from tests.cli.typed import xalign
from tests.tiny import ROOT, make_model, make_tokenizer
from xalign import AlignmentReport, LanguageVector, UnitSet, measure
from xalign.results.history import History
from xalign.results.history_entry import scale_in

FILES = ROOT / "tests" / "written_by_0_1_0"
EXPECTED = json.loads((FILES / "expected.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def report():
    return AlignmentReport.load(FILES / "report")


@pytest.fixture(scope="module")
def later(report):
    """The same sentences and metrics, measured by this version."""
    return measure(make_model("llama", seed=2), make_tokenizer(), report.pairs, report.measured, step=200)


def test_they_are_of_0_1_0(report):
    assert report.provenance["versions"]["xalign"] == "0.1.0"
    assert "must_agree" not in report.provenance
    saved = json.loads((FILES / "report" / "report.json").read_text(encoding="utf-8"))
    assert not any("scale" in row or "metric" in row for row in saved["metrics"].values())


def without_intervals_of_shares(rows):
    """Rows without the intervals that 0.1.0 made by resampling and that shares now have in another way.

    What is said of documents, which 0.1.0 did not know, is left out too.
    """
    pooled = ("mean", "max")
    is_other = [row["layer"] in pooled and row["metric"] != "margin" for row in rows]
    return [
        {key: value for key, value in row.items() if key not in ("documents", *("low", "high")[: 2 * other])}
        for row, other in zip(rows, is_other, strict=True)
    ]


def test_the_report_gives_the_same_numbers(report):
    rows = report.to_rows(over=("mean", "max"))
    assert without_intervals_of_shares(rows) == without_intervals_of_shares(EXPECTED["report_rows"])
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows)
    assert report.summary() == EXPECTED["summary"]
    assert report.measured == ["nasca", "navca", "mexa", "retrieval", "margin"]


def test_the_report_has_the_scales_that_a_new_one_has(report, later):
    assert [report.scale(row) for row in report.metrics] == [later.scale(row) for row in later.metrics]
    for metric in report.measured:
        assert report.scale(metric) == later.scale(metric)
        for code in report.languages:
            assert report.chance(metric, code) == later.chance(metric, code)


def test_the_report_is_compared_with_a_new_one(report, later):
    rows = later.compare(report)
    before = [row["value"] for row in EXPECTED["report_rows"] if row["layer"] != "max"]
    assert [row["before"] for row in rows] == pytest.approx(before, abs=1e-12)
    assert any(row["difference"] != 0 for row in rows)


def test_the_report_is_saved_again(report, tmp_path):
    again = AlignmentReport.load(report.save(tmp_path / "report"))
    assert again.to_rows(over=("mean", "max")) == report.to_rows(over=("mean", "max"))
    assert again.provenance == report.provenance


def test_the_history_gives_the_same_numbers():
    history = History.load(FILES / "history.jsonl")
    assert history.to_rows() == [row | {"documents": None} for row in EXPECTED["history_rows"]]
    assert scale_in(history.entries[0], "retrieval_to_pivot").title == "Retrieval to pivot"


def test_the_history_goes_on(later, tmp_path):
    path = shutil.copy(FILES / "history.jsonl", tmp_path / "history.jsonl")
    History(path).append(later)
    history = History.load(path)
    assert history.steps == [0, 100, 200]
    before = [row | {"documents": None} for row in EXPECTED["history_rows"]]
    assert history.to_rows() == [*before, *later.to_rows()]


@pytest.mark.parametrize("source", ["report", "history.jsonl"])
def test_a_page_draws_them(source, tmp_path):
    done = xalign("page", FILES / source, "--out", tmp_path / "page.html")
    assert done.exit_code == 0, done.stderr
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])
    assert data["metrics"]["margin"]["unit"] == "cosine"
    assert data["metrics"]["nasca"]["name"] == "NASCA"
    scores = [
        round(1000 * row["value"])
        for row in EXPECTED["history_rows"]
        if (row["metric"], row["language"], row["layer"]) == ("margin", "deu_Latn", "mean")
    ]
    assert data["metrics"]["margin"]["languages"]["deu_Latn"]["score"] == scores[: len(data["steps"])]


def test_the_units_have_the_same_values():
    units = UnitSet.from_pretrained(FILES / "units")
    rows = [[unit.label, str(unit.site), unit.index, unit.score, unit.value] for unit in units]
    assert rows == EXPECTED["units"]


def test_the_vector_has_the_same_values():
    vector = LanguageVector.from_pretrained(FILES / "vector")
    (values,) = vector.vectors.values()
    assert values.tolist() == EXPECTED["vector"]
    assert vector.label == "deu_Latn"
