"""Equal values say nothing about their spread: no interval is shown, and nothing counts as a finding."""

import io
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from tests.reports import N, own_metrics, report_of, result
from xalign import AlignmentReport, ParallelPairs, Site
from xalign.metrics import METRICS
from xalign.metrics.scale import Scale
from xalign.monitor.report_log import scores_table
from xalign.results.emergence import emergence
from xalign.results.history import History
from xalign.results.values import MetricResult
from xalign.views.stages import stages_table
from xalign.views.table import comparison_table, report_table

COSINE = Scale("Own", bounds=(-1.0, 1.0))
SITES = [Site("hidden", 0), Site("hidden", "final")]


def equal(value, step=None):
    """A real-valued metric whose values are all equal, but for rounding."""
    values = torch.full((2, N), value, dtype=torch.float64)
    values[:, 0] += 1e-16
    return report_of(step, own=result("own", COSINE, SITES, values, chance=0.2))


def bits(n, ones):
    """NASCA of n pairs, of which some are 1."""
    pairs = ParallelPairs(
        {"eng_Latn": [f"E {i}" for i in range(n)], "deu_Latn": [f"D {i}" for i in range(n)]}
    )
    values = (torch.arange(n) < ones).expand(2, n).clone()
    site = [Site("gate", 0), Site("gate", 1)]
    found = MetricResult(
        *("nasca", METRICS["nasca"].scale, tuple(site), tuple(f"{one}:active:weighted" for one in site)),
        *({"deu_Latn": values}, {"deu_Latn": torch.zeros(n, dtype=torch.bool)}, {"deu_Latn": 0.1}),
    )
    stats = {code: own_metrics().stats["deu_Latn"] for code in ("eng_Latn", "deu_Latn")}
    provenance = {"model": "by-hand", "fingerprint": pairs.fingerprint, "revision": None}
    return AlignmentReport(pairs, {"nasca": found}, stats, own_metrics().cost, provenance)


def text_of(table):
    file = io.StringIO()
    Console(file=file, width=200).print(table)
    return file.getvalue()


@pytest.mark.parametrize("n", [2, 3, 5, 12])
def test_equal_differences_are_no_finding(n):
    """From 0 to 1 on all of two or three pairs, p was .48 and .25, and the line stood out."""
    before, after = bits(n, 0), bits(n, n)
    rows = after.compare(before)
    assert {(row["low"], row["high"]) for row in rows} == {(None, None)}
    (line,) = comparison_table(rows).rows
    assert line.style == "dim"
    assert "[" not in text_of(comparison_table(rows))
    assert "[+1" not in text_of(stages_table({"before": before, "after": after}))


def test_an_interval_stands_out_only_with_its_p():
    """The interval of two pairs left 0 out, at p = .48."""
    (line,) = comparison_table(
        [
            {"metric": "own", "language": "deu_Latn", "stack": "", "layer": "mean", "before": 0.0}
            | {"after": 0.75, "difference": 0.75, "low": 0.5, "high": 1.0, "p": 0.48, "n": 2}
        ]
    ).rows
    assert line.style == "dim"
    rows = bits(60, 59).compare(bits(60, 30))
    (line,) = comparison_table(rows).rows
    assert line.style == "" and rows[-1]["low"] > 0


def test_equal_values_have_no_interval_anywhere():
    """The rows had numbers where the table left a blank, and the table of scores said [0.50, 0.50] >."""
    report = equal(0.5)
    assert {(row["low"], row["high"]) for row in report.to_rows(over=("mean", "max"))} == {(None, None)}
    line = next(one for one in text_of(report_table(report)).splitlines() if "~" in one)
    assert "0.5" in line and "[" not in line and ">" not in line
    _, rows = scores_table(report)
    assert {tuple(row[3:5]) for row in rows} == {(None, None)}


def test_equal_values_emerge_at_no_step(tmp_path):
    """They emerged at step 0, and any fall was a regression."""
    history = History(tmp_path / "history.jsonl")
    for step, value in ((0, 0.9), (10, 0.5)):
        history.append(equal(value, step))
    assert {(row["low"], row["high"]) for row in History(history.path).to_rows()} == {(None, None)}
    for row in emergence(history):
        assert row["emerged_at"] is None and not row["regressed"]
    history.to_html(tmp_path / "page.html")
    assert replace(equal(0.5), step=1).to_html(tmp_path / "one.html").exists()
