"""Joining, correlating and showing, with reports written down by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from tests.correlation import files
from xalign import AlignmentReport, ParallelPairs, Site
from xalign.correlation import Results, correlate
from xalign.correlation.aligned import FLOOR, SHARED, read_aligned
from xalign.correlation.outcome import Identity, Outcome
from xalign.errors import ArgumentError
from xalign.metrics import METRICS
from xalign.results.history import History
from xalign.results.values import Cost, LanguageStats, MetricResult

LANGUAGES = list(files.SCORES)
ALIGNED = {"deu_Latn": 6, "fra_Latn": 7, "rus_Cyrl": 3, "spa_Latn": 9, "zho_Hans": 2}  # of ten


def report_of(aligned=ALIGNED, model="HuggingFaceTB/tiny", step=None):
    """NASCA is the share of the ten pairs that is given, in the second block; the first has half of it."""
    words = {
        code: [f"{code} same {row}" if row < place else f"{code} {row}x" for row in range(10)]
        for place, code in enumerate(aligned)
    }
    pairs = ParallelPairs({"eng_Latn": [f"english same {row}" for row in range(10)]} | words)
    bits = {
        code: torch.stack([torch.arange(10) < count // 2, torch.arange(10) < count])
        for code, count in aligned.items()
    }
    result = MetricResult(
        metric="nasca",
        scale=METRICS["nasca"].scale,
        sites=(Site("gate", 0), Site("gate", 1)),
        readings=("0.gate:active:weighted", "1.gate:active:weighted"),
        values=bits,
        floors={code: torch.arange(10) < place for place, code in enumerate(aligned)},
        chance=dict.fromkeys(aligned, 1 / 19),
    )
    stats_of = dict.fromkeys(["eng_Latn", *aligned], LanguageStats(3.0, 0.0))
    provenance = {"model": model, "fingerprint": pairs.fingerprint}
    return AlignmentReport(pairs, {"nasca": result}, stats_of, Cost(1, 1, 1, 1, 1), provenance, step)


def outcomes_of(scores, model=None, step=None, benchmark="quiz", **besides):
    return Results(
        [
            Outcome(Identity(model, step), benchmark, code, score, f"{benchmark}_{code}", "by hand", besides)
            for code, score in scores.items()
        ],
        [],
    )


def together(*results):
    return Results([one for found in results for one in found.outcomes], [])


def row_of(found, predictor, benchmark=None):
    return next(
        row
        for row in found.to_rows()
        if row["predictor"] == predictor and benchmark in (None, row["benchmark"])
    )


# Over languages.


@pytest.mark.parametrize("make", [files.lm_eval, files.lighteval, files.every_eval_ever, files.table])
def test_every_format_against_scipy(tmp_path, make):
    found = correlate(report_of(), make(tmp_path))
    report, y = report_of(), list(files.SCORES.values())
    expected = {
        "nasca": [report.score("nasca", code) for code in LANGUAGES],
        FLOOR: [report.floor("nasca", code) for code in LANGUAGES],
        SHARED: [(2 * place + (10 - place) * 0) / (3 * place + 2 * (10 - place)) for place in range(5)],
    }
    for predictor, x in expected.items():
        row = row_of(found, predictor)
        assert (row["points"], row["models"], row["languages"]) == (5, 1, 5)
        assert row["pearson"] == pytest.approx(stats.pearsonr(x, y).statistic)
        assert row["spearman"] == pytest.approx(stats.spearmanr(x, y).statistic)
        assert row["pearson_low"] <= row["pearson"] <= row["pearson_high"]
        assert row["partial"] is None


def test_the_best_layer():
    found = correlate(report_of(), outcomes_of(files.SCORES), over="max")
    x = [ALIGNED[code] / 10 for code in LANGUAGES]
    assert row_of(found, "nasca")["pearson"] == pytest.approx(
        stats.pearsonr(x, [*files.SCORES.values()]).statistic
    )


def test_what_stands_beside_the_scores(tmp_path):
    sizes = {"deu_Latn": 100, "fra_Latn": 50, "rus_Cyrl": 80, "spa_Latn": 90, "zho_Hans": 10}
    path = files.table(tmp_path, loss=lambda code: 1 / sizes[code], data_size=sizes.get)
    found = correlate(report_of(step=200), path)
    assert found.predictors == ["nasca", FLOOR, SHARED, "loss"]
    x = np.array([report_of().score("nasca", code) for code in LANGUAGES])
    y, z = np.array([*files.SCORES.values()]), np.log([sizes[code] for code in LANGUAGES])
    xy, xz, yz = (np.corrcoef(a, b)[0, 1] for a, b in ((x, y), (x, z), (y, z)))
    expected = (xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2))
    assert row_of(found, "nasca")["partial"] == pytest.approx(expected)
    given = correlate(report_of(), outcomes_of(files.SCORES), data_sizes=sizes)
    assert row_of(given, "nasca")["partial"] == pytest.approx(expected)


# Over models and steps.


def test_models_are_told_apart_by_name():
    weaker = {code: count // 2 for code, count in ALIGNED.items()}
    reports = [report_of(), report_of(weaker, model="/models/other")]
    lower = {code: score / 2 for code, score in files.SCORES.items()}
    found = correlate(reports, together(outcomes_of(files.SCORES, "tiny"), outcomes_of(lower, "other")))
    assert row_of(found, "nasca")["points"] == 10
    x = [report.score("nasca", code) for report in reports for code in LANGUAGES]
    y = [*files.SCORES.values(), *lower.values()]
    assert row_of(found, "nasca")["pearson"] == pytest.approx(stats.pearsonr(x, y).statistic)
    with pytest.raises(ArgumentError, match="it names no model, and there are several: tiny, other"):
        correlate(reports, outcomes_of(files.SCORES))
    with pytest.raises(ArgumentError, match="no report is of third; they are of tiny, other"):
        correlate(reports, outcomes_of(files.SCORES, "third"))


def run(folder, model="HuggingFaceTB/tiny"):
    history = History(folder / "alignment" / "history.jsonl")
    for step, factor in ((100, 0.3), (200, 1.0)):
        history.append(report_of({code: int(count * factor) for code, count in ALIGNED.items()}, model, step))
    return folder


def test_steps_of_a_run(tmp_path):
    (tmp_path / "sft" / "alignment").mkdir(parents=True)
    run(tmp_path / "sft")
    early = {code: score / 3 for code, score in files.SCORES.items()}
    results = together(outcomes_of(early, "sft", 100), outcomes_of(files.SCORES, "tiny", 200))
    found = correlate(tmp_path / "sft", results)  # by the run's folder, and by the model's name
    assert {one.model for one in found.points} == {"sft at step 100", "sft at step 200"}
    x = [one.values["nasca"] for one in found.points]
    assert row_of(found, "nasca")["pearson"] == pytest.approx(
        stats.pearsonr(x, [*early.values(), *files.SCORES.values()]).statistic
    )
    assert {value.step for value in read_aligned([tmp_path])} == {100, 200}  # a folder that holds the run
    with pytest.raises(ArgumentError, match="it names no step, and there are several: 100, 200"):
        correlate(tmp_path / "sft", outcomes_of(files.SCORES, "sft"))
    with pytest.raises(ArgumentError, match="step 300 was not measured; 100, 200 were"):
        correlate(tmp_path / "sft", outcomes_of(files.SCORES, "sft", 300))


def test_a_history_and_a_saved_report_say_the_same(tmp_path):
    history = History()
    history.append(report_of(step=200))
    saved = report_of().save(tmp_path / "tiny")
    rows = [
        row_of(correlate(one, outcomes_of(files.SCORES)), "nasca") for one in (history, saved, report_of())
    ]
    assert rows[0] == rows[1] == rows[2]
    best = [
        row_of(correlate(one, outcomes_of(files.SCORES), over="max"), "nasca") for one in (history, saved)
    ]
    assert best[0] == best[1] != rows[0]


# What is left out, and what is refused.


def test_a_language_that_was_not_measured_is_listed():
    found = correlate(report_of(), outcomes_of(files.SCORES | {"eng_Latn": 0.9, "tam_Taml": 0.3}))
    assert [(one.what, one.reason) for one in found.left_out] == [
        ("quiz_eng_Latn", "eng_Latn was not measured"),
        ("quiz_tam_Taml", "tam_Taml was not measured"),
    ]
    assert row_of(found, "nasca")["points"] == 5


def test_fewer_than_four_points(tmp_path):
    three = dict(list(files.SCORES.items())[:3])
    with pytest.raises(ArgumentError, match=r"3 point\(s\) were joined, and no benchmark has 4"):
        correlate(report_of(), outcomes_of(three))
    found = correlate(report_of(), together(outcomes_of(files.SCORES), outcomes_of(three, benchmark="exam")))
    assert found.benchmarks == ["quiz"]
    assert [(one.what, one.reason) for one in found.left_out] == [("exam", "has 3 point(s); 4 are needed")]


def test_two_scores_of_one_point():
    with pytest.raises(ArgumentError, match="are both quiz of tiny in deu_Latn; keep one"):
        correlate(report_of(), together(outcomes_of(files.SCORES), outcomes_of(files.SCORES)))


def test_two_reports_of_one_language():
    with pytest.raises(ArgumentError, match="2 reports are of tiny in deu_Latn"):
        correlate([report_of(), report_of()], outcomes_of(files.SCORES))


def test_a_predictor_that_is_the_same_everywhere():
    found = correlate(report_of(dict.fromkeys(ALIGNED, 4)), outcomes_of(files.SCORES))
    row = row_of(found, "nasca")
    assert (row["pearson"], row["spearman"], row["pearson_low"]) == (None, None, None)
    json.dumps(found.to_rows())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"over": "best"}, "over='best' must be"),
        ({"resample": "points"}, "resample='points' must be one of"),
        ({"data_sizes": {"de": -1}}, "data_sizes"),
    ],
)
def test_options(options, message):
    with pytest.raises(ArgumentError, match=message):
        correlate(report_of(), outcomes_of(files.SCORES), **options)


def test_folders_without_a_report(tmp_path):
    with pytest.raises(ArgumentError, match="holds no report and no run"):
        correlate(tmp_path, outcomes_of(files.SCORES))
    with pytest.raises(ArgumentError, match="no report and no run was given"):
        correlate([], outcomes_of(files.SCORES))


# What is shown.


def test_table_page_and_file(tmp_path):
    odd = replace(outcomes_of(files.SCORES).outcomes[0], task="<b>odd</b>", language="tam_Taml")
    results = Results([*outcomes_of(files.SCORES, loss=1.0).outcomes, odd], [])
    found = correlate(report_of(), results)
    assert found.table().row_count == 4
    page = found.to_html(tmp_path / "found.html").read_text(encoding="utf-8")
    assert page.count("<circle") == 4 * 5
    assert "&lt;b&gt;odd&lt;/b&gt;" in page
    assert "<b>odd" not in page
    assert "http" not in page.replace("http://www.w3.org", "")
    saved = json.loads(found.save(tmp_path / "found.json").read_text(encoding="utf-8"))
    assert len(saved["points"]) == 5
    assert saved["left_out"][0]["what"] == "<b>odd</b>"
    assert len(found.figure().axes) == 4
    with pytest.raises(ArgumentError, match="must end in .html"):
        found.to_html(tmp_path / "found.txt")
