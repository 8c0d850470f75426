"""Metrics of similarity structure through `measure`: scores, chance, intervals, saving, refusals."""

import math

import pytest

import xalign
from tests.tiny import make_model, make_tokenizer
from xalign.errors import ArgumentError
from xalign.metrics import METRICS
from xalign.metrics.cka import CKA

STRUCTURE = [name for name, metric in METRICS.items() if metric.reads == "hidden" and not metric.is_of_items]


@pytest.fixture(scope="module")
def report():
    pairs = xalign.load_pairs("bundled", ["deu_Latn", "zho_Hans"], n=14)
    return xalign.measure(make_model("bert"), make_tokenizer(), pairs, STRUCTURE)


@pytest.mark.filterwarnings("ignore:most tokens of some languages are unknown:UserWarning")
def test_every_metric_runs_through_a_report(report, tmp_path):
    assert len(STRUCTURE) == len(METRICS) - 8  # all but those of neurons, of routers and of items
    report.save(tmp_path / "saved")
    again = xalign.AlignmentReport.load(tmp_path / "saved")
    for name in STRUCTURE:
        low, high = report.interval(name, "deu_Latn")
        score = report.score(name, "deu_Latn")
        assert math.isfinite(score) and low <= score <= high
        assert again.score(name, "deu_Latn") == score
        has_chance = METRICS[name].chance is not None or METRICS[name].null is not None
        assert (report.chance(name, "deu_Latn") is not None) == has_chance
    assert report.interval("cka", "deu_Latn")[0] < report.interval("cka", "deu_Latn")[1]


@pytest.mark.filterwarnings("ignore:most tokens of some languages are unknown:UserWarning")
def test_too_few_pairs_are_refused_before_anything_runs(monkeypatch):
    pairs = xalign.load_pairs("bundled", ["deu_Latn"], n=4)
    monkeypatch.setattr("xalign.model.read.Reader.read", None)
    with pytest.raises(
        ArgumentError, match="metric 'cka' needs at least 5 pairs, and deu_Latn has 4; give more"
    ):
        xalign.measure(make_model("bert"), make_tokenizer(), pairs, ["mexa", CKA])
    with pytest.raises(ArgumentError, match="metric 'dali' is computed of test items: load_items, and then"):
        xalign.measure(make_model("bert"), make_tokenizer(), pairs, ["dali"])
