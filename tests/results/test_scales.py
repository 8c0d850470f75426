"""A report knows which way is better, and emergence asks it."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.reports import own_metrics, report_of, result
from tests.results.test_emergence import history_of
from xalign import AlignmentReport, Site
from xalign.errors import ReportError
from xalign.metrics import METRICS
from xalign.metrics.scale import Scale
from xalign.results.emergence import emergence
from xalign.results.history import History
from xalign.results.history_entry import scale_in
from xalign.statistics.intervals import bootstrap_interval, wilson_interval


def test_the_best_of_an_error_is_the_smallest():
    report = own_metrics()
    means = report.mean_by_layer("distance", "deu_Latn")
    assert report.best_layer("distance", "deu_Latn") == "embed"
    assert report.score("distance", "deu_Latn", over="max") == means.min() < means.max()
    low, high = report.interval("distance", "deu_Latn", over="max")
    assert low < means.min() < high < means[1]
    assert report.best_layer("misses", "deu_Latn") == 0  # of equal ones the first
    code, worst = report.worst("distance")
    assert worst == max(report.score("distance", one) for one in report.languages)
    pairs = report.per_pair("distance", code)
    assert [score for _, score, _, _ in report.worst_pairs("distance", code, 3)] == sorted(pairs)[:-4:-1]


def test_only_shares_have_intervals_of_bits():
    """Values that are all 1 need not be bits: a distance of 1 everywhere has no spread."""
    ones = np.ones((2, 12))
    sites = [Site("hidden", 0), Site("hidden", 1)]
    report = report_of(
        distance=result("distance", Scale("Distance"), sites, ones),
        share=result("share", Scale("Share", bounds=(0.0, 1.0)), sites, ones),
    )
    assert bootstrap_interval(np.ones(12)) == (1.0, 1.0)
    assert report.interval("distance", "deu_Latn") == (None, None)  # equal values: no spread is known
    assert report.interval("distance", "deu_Latn", "max") == (None, None)
    assert report.interval("share", "deu_Latn") == wilson_interval(12, 12)


def test_a_metric_without_a_floor_says_none(tmp_path):
    report = own_metrics(step=5)
    assert report.floor("distance") is None
    assert report.floor("distance", "deu_Latn") is None
    assert report.chance("distance", "deu_Latn") is None
    assert report.floor("misses", "deu_Latn") == pytest.approx(8 / 12)
    json.dumps(report.to_rows(), allow_nan=False)
    again = AlignmentReport.load(report.save(tmp_path / "report"))
    assert again.to_rows() == report.to_rows()
    for metric in report.metrics:
        assert again.scale(metric) == report.scale(metric)
    history = History()
    history.append(report)
    assert scale_in(history.entries[0], "distance") == report.scale("distance")
    assert history.to_rows() == report.to_rows()


def test_titles_of_rows_and_of_their_metric(tmp_path):
    sites = [Site("hidden", 0)]
    bits = np.ones((1, 12), dtype=bool)
    scale = Scale("Retrieval of mine", bounds=(0.0, 1.0))
    report = report_of(
        0, both_ways=result("mine", scale, sites, bits), back=result("mine", scale, sites, bits)
    )
    for one in (report, AlignmentReport.load(report.save(tmp_path / "report"))):
        assert one.scale("mine").title == "Retrieval of mine"
        assert one.scale("both_ways").title == "Both ways"
    history = History()
    history.append(report)
    assert scale_in(history.entries[0], "back").title == "Back"
    assert (
        METRICS["retrieval"].scale.of_row("retrieval", "retrieval_from_pivot").title == "Retrieval from pivot"
    )


def mirrored(series, **bars):
    """The same history of an error: every number is taken from 1."""
    history = history_of(series, **bars)
    scale = {"title": "Error", "unit": "", "bounds": None, "higher_is_better": False}
    for entry in history.entries:
        found = entry["metrics"].pop("nasca")
        for numbers in found["languages"].values():
            low, high = numbers["low"], numbers["high"]
            numbers["low"], numbers["high"] = [1 - value for value in high], [1 - value for value in low]
            numbers["value"] = [1 - value for value in numbers["value"]]
            for bar in ("floor", "chance"):
                numbers[bar] = None if numbers[bar] is None else 1 - numbers[bar]
        entry["metrics"]["error"] = found | {"metric": "error", "scale": scale}
    return history


@pytest.mark.parametrize(
    "series",
    [
        [(0.0, 0.1), (0.3, 0.1), (0.1, 0.3), (0.3, 0.5), (0.4, 0.6)],
        [(0.6, 0.6), (0.8, 0.5), (0.1, 0.55)],
        [(0.3, 0.3), (0.5, 0.5)],
    ],
)
def test_emergence_of_an_error_is_the_mirror_image(series):
    rows, mirror = emergence(history_of(series)), emergence(mirrored(series))
    assert any(row["emerged_at"] is not None for row in rows) or any(row["regressed"] for row in rows)
    for row, other in zip(rows, mirror, strict=True):
        for key in ("layer", "emerged_at", "peak_step", "regressed", "best_layer"):
            assert row.get(key) == other.get(key), key
        assert other["peak"] == pytest.approx(1 - row["peak"])


def test_emergence_without_floor_or_chance():
    series = [(0.3, 0.3), (0.5, 0.5)]

    def emerged(history):
        return {row["layer"]: row["emerged_at"] for row in emergence(history)}["mean"]

    assert emerged(history_of(series, floor=None, chance=0.4)) == 10
    assert emerged(history_of(series, floor=0.4, chance=None)) == 10
    assert emerged(history_of(series, floor=None, chance=None)) is None  # there is nothing to rise above
    assert emerged(mirrored(series, floor=None, chance=0.4)) == 10


def test_two_metrics_of_one_name_are_not_compared(tmp_path):
    """The same name with another unit, other bounds or another direction is another metric."""
    report = own_metrics()
    result = report.metrics["distance"]
    other = replace(
        report, metrics=report.metrics | {"distance": replace(result, scale=replace(result.scale, unit="cm"))}
    )
    with pytest.raises(ReportError, match="distance means Scale.* these are two metrics of one name"):
        other.compare(report)
    history = History()
    history.append(replace(report, step=1))
    with pytest.raises(ReportError, match="distance meant Scale.*at step 1 and means Scale"):
        history.append(replace(other, step=2))
    renamed = replace(result, scale=replace(result.scale, title="How far"))
    history.append(replace(report, step=2, metrics=report.metrics | {"distance": renamed}))
