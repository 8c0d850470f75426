"""How much scores move with the sentences, against measurements of each draw on its own."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from tests.tiny import make_model, make_tokenizer
from xalign import ParallelPairs, load_pairs, measure
from xalign.errors import ArgumentError
from xalign.robustness import measure_stability
from xalign.statistics.draws import draw_rows

METRICS = ["nasca", "retrieval", "margin"]


@pytest.fixture(scope="module")
def pairs():
    """Sixty bundled sentences, four of each document."""
    bundled = load_pairs("bundled", ["deu_Latn", "rus_Cyrl", "spa_Latn"], n=60)
    return ParallelPairs(bundled.texts, documents=[f"document {row // 4}" for row in range(60)])


@pytest.fixture(scope="module")
def model():
    return make_model("llama"), make_tokenizer()


def test_each_draw_is_scored_as_a_measurement_of_its_sentences(model, pairs):
    found = measure_stability(*model, pairs, METRICS, n=[30], draws=4, seed=3)
    assert {row["by"] for row in found.rows} == {"documents"}
    drawn = draw_rows(60, 30, 4, by="documents", documents=pairs["deu_Latn"].documents, seed=3)
    reports = [measure(*model, pairs.rows(rows.tolist()), METRICS, seed=3) for rows in drawn]
    for metric in METRICS:
        for code in pairs:
            scores = np.array([report.score(metric, code) for report in reports])
            ends = np.array([report.interval(metric, code) for report in reports], dtype=float)
            row = found.row(metric, code, 30)
            assert row["mean"] == pytest.approx(scores.mean(), abs=1e-6)
            assert row["sd"] == pytest.approx(scores.std(ddof=1), abs=1e-6)
            assert row["width"] == pytest.approx(np.median(ends[:, 1] - ends[:, 0]), abs=1e-5)
            held = (ends[:, 0] <= scores.mean()) & (scores.mean() <= ends[:, 1])
            assert row["covered"] == pytest.approx(held.mean())
        together = found.row(metric, None, 30)
        assert together["mean"] == pytest.approx(
            np.mean([report.score(metric) for report in reports]), abs=1e-6
        )


def test_more_rivals_lower_scores_and_spread(model, pairs):
    found = measure_stability(*model, pairs, ["mexa"], n=[5, 40], draws=20, by="sentences")
    few, many = (found.row("mexa", None, n) for n in (5, 40))
    assert few["mean"] > many["mean"] + 0.05
    assert few["sd"] > many["sd"]
    assert few["draws"] == 20


def test_the_order_of_languages(model, pairs):
    found = measure_stability(*model, pairs, ["margin"], n=[20], draws=6, by="blocks")
    blocks = draw_rows(60, 20, 6, by="blocks")
    table = np.array(
        [
            [measure(*model, pairs.rows(rows.tolist()), ["margin"]).score("margin", code) for rows in blocks]
            for code in pairs
        ]
    )
    expected = np.mean([spearmanr(draw, table.mean(axis=1)).statistic for draw in table.T])
    assert found.row("margin", None, 20)["order"] == pytest.approx(expected, abs=1e-9)
    two = measure_stability(*model, pairs.only(["de", "ru"]), ["margin"], n=[20], draws=2)
    assert two.row("margin", None, 20)["order"] is None


def test_a_report_knows_it_of_its_own_values(model, pairs):
    report = measure(*model, pairs, ["mexa"])
    found = report.stability("mexa", [12], draws=30, seed=2)
    drawn = draw_rows(60, 12, 30, by="documents", documents=pairs["de"].documents, seed=2)
    scores = [report.per_pair("mexa", "de")[rows].mean() for rows in drawn]
    row = found.row("mexa", "deu_Latn", 12)
    assert (row["mean"], row["sd"]) == pytest.approx((np.mean(scores), np.std(scores, ddof=1)))
    assert [one["n"] for one in report.stability("mexa").rows] == [15] * 4 + [30] * 4
    assert found.rivals == "all"
    plain = replace(report, pairs=ParallelPairs(pairs.texts))
    assert {one["by"] for one in plain.stability("mexa").rows} == {"sentences"}


def test_all_sentences_leave_nothing_to_draw(model, pairs):
    row = measure(*model, pairs, ["mexa"]).stability("mexa", [60]).row("mexa", None, 60)
    assert row["sd"] == pytest.approx(0, abs=1e-12)


def test_it_is_shown(model, pairs):
    found = measure_stability(*model, pairs, ["nasca"], n=[10, 20], draws=3)
    table = found.table()
    assert table.row_count == 8
    assert "its own sentences" in table.caption
    assert "all sentences" in measure(*model, pairs, ["nasca"]).stability().table().caption


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": [61]}, "n=61 is more than the 60"),
        ({"n": [1]}, "n=1 must be at least 2"),
        ({"n": []}, "must name numbers"),
        ({"draws": 1}, "draws=1 must be at least 2"),
        ({"by": "lines"}, "by='lines' must be one of"),
        ({"draw": 3}, "draw"),
    ],
)
def test_what_is_refused(model, pairs, options, message):
    with pytest.raises((ArgumentError, TypeError), match=message):
        measure_stability(*model, pairs, ["nasca"], **options)


def test_languages_of_different_counts_have_no_common_row(model):
    bundled = load_pairs("bundled", ["deu_Latn", "rus_Cyrl"], n=30)
    bitexts = [bundled["de"], bundled["ru"].first(20)]
    found = measure_stability(*model, ParallelPairs.from_bitexts(bitexts), ["nasca"], n=[10], draws=3)
    assert [row["language"] for row in found.rows] == ["deu_Latn", "rus_Cyrl", None]
