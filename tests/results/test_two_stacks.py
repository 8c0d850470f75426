"""Encoder and decoder have layers of the same number: nowhere are they mixed up."""

import io
from itertools import pairwise

import numpy as np
import pytest
from rich.console import Console

from tests.reports import report_of, result, two_stacks
from xalign import AlignmentReport, Site
from xalign.errors import ArgumentError
from xalign.metrics import METRICS
from xalign.results.emergence import emergence
from xalign.results.history import History
from xalign.views.emergence import emergence_figure
from xalign.views.heatmap import heatmap
from xalign.views.stages import stages_figure

PLACES = [
    *(("encoder", 0), ("encoder", 1), ("decoder", 0), ("decoder", 1)),
    ("", "mean"),
]


def places(rows, metric="nasca", language="deu_Latn"):
    return [
        (row["stack"], row["layer"]) for row in rows if (row["metric"], row["language"]) == (metric, language)
    ]


def test_rows_name_the_stack():
    report = two_stacks()
    assert report.stacks == ["encoder", "decoder"]
    assert places(report.to_rows()) == PLACES
    assert places(report.to_rows(), "mexa")[:4] == [
        *(("encoder", "embed"), ("encoder", 0), ("encoder", "final")),
        ("decoder", "embed"),
    ]
    values = report.metrics["nasca"].values["deu_Latn"]
    assert not values[0].equal(values[2])  # or a mix-up would not be seen
    for place, (stack, layer) in enumerate(PLACES[:-1]):
        assert report.per_sentence("nasca", "deu_Latn", f"{stack}.{layer}").equal(values[place])
        assert report.per_sentence("nasca", "deu_Latn", Site("gate", layer, stack)).equal(values[place])
    with pytest.raises(ArgumentError, match=r"layer=0 was not measured by nasca; it has \['encoder.0'"):
        report.per_sentence("nasca", "deu_Latn", 0)


def test_the_score_of_one_stack():
    report = two_stacks()
    values = report.metrics["nasca"].values["deu_Latn"].double().numpy()
    assert report.score("nasca", "deu_Latn") == pytest.approx(values.mean())
    for stack, own in (("encoder", values[:2]), ("decoder", values[2:])):
        assert report.score("nasca", "deu_Latn", stack=stack) == pytest.approx(own.mean())
        assert report.score("nasca", "deu_Latn", "max", stack) == own.mean(axis=1).max()
        low, high = report.interval("nasca", "deu_Latn", stack=stack)
        assert low <= own.mean() <= high
        assert np.allclose(report.per_pair("nasca", "deu_Latn", stack), own.mean(axis=0))
    assert values[:2].mean() != values[2:].mean()
    with pytest.raises(
        ArgumentError, match=r"stack='both' was not measured by nasca; choose from \['encoder', "
    ):
        report.score("nasca", stack="both")
    best = report.best_layer("nasca", "deu_Latn")
    assert best == ["encoder.0", "encoder.1", "decoder.0", "decoder.1"][int(values.mean(axis=1).argmax())]


def test_saved_and_loaded(tmp_path):
    report = two_stacks(step=3)
    again = AlignmentReport.load(report.save(tmp_path / "report"))
    assert again.to_rows(("mean", "max")) == report.to_rows(("mean", "max"))
    assert again.sites("mexa") == report.sites("mexa")


def test_compared():
    before, after = two_stacks(), two_stacks(seed=1)
    rows = after.compare(before)
    assert places(rows) == PLACES
    for row, was, now in zip(rows, before.to_rows(), after.to_rows(), strict=True):
        assert (row["before"], row["after"]) == pytest.approx((was["value"], now["value"]))


def test_through_a_history(tmp_path):
    reports = [two_stacks(step, seed=step) for step in (0, 10)]
    history = History(tmp_path / "history.jsonl")
    for report in reports:
        history.append(report)
    assert History.load(tmp_path).to_rows() == [row for report in reports for row in report.to_rows()]
    layers = [row["layer"] for row in emergence(history, "nasca") if row["language"] == "deu_Latn"]
    assert layers == ["encoder.0", "encoder.1", "decoder.0", "decoder.1", "mean"]


def test_linear_sites_have_names_in_place_of_layers(tmp_path):
    """Their rows, in comparisons and histories too, name the module."""
    sites = [Site("linear", name="encoder.layers.3.fc1"), Site("linear", name="lm_head")]
    values = two_stacks().metrics["nasca"].values["deu_Latn"][:2]
    report = report_of(0, nasca=result("nasca", METRICS["nasca"].scale, sites, values))
    expected = [("", "linear:encoder.layers.3.fc1"), ("", "linear:lm_head"), ("", "mean")]
    assert places(report.to_rows()) == places(report.compare(report)) == expected
    history = History()
    history.append(report)
    assert history.to_rows() == report.to_rows()
    assert AlignmentReport.load(report.save(tmp_path / "report")).to_rows() == report.to_rows()


def test_drawn_side_by_side():
    before, after = two_stacks(0), two_stacks(10, seed=1)
    labels = ["encoder.0", "encoder.1", "decoder.0", "decoder.1"]
    axes = heatmap(before).axes[0]
    drawn = dict(zip([tick.get_text() for tick in axes.get_xticklabels()], axes.get_xticks(), strict=True))
    assert list(drawn) == [*labels, "mean", "floor"]
    assert len(set(drawn.values())) == 6
    axes.figure.canvas.draw()
    boxes = sorted((tick.get_window_extent() for tick in axes.get_xticklabels()), key=lambda box: box.x0)
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))  # no label touches the next
    grid = np.asarray(axes.images[0].get_array(), dtype=float)
    for name, values in zip(labels, before.metrics["nasca"].values["deu_Latn"].double().mean(1), strict=True):
        assert grid[0, int(drawn[name])] == values
    assert np.isnan(np.ma.filled(axes.images[0].get_array(), np.nan)[0, int(drawn["decoder.0"]) - 1])
    stages = stages_figure({"before": before, "after": after}).axes[0]
    assert [tick.get_text() for tick in stages.get_xticklabels()] == labels
    assert [tick.get_text() for tick in emergence_figure([before, after]).axes[0].get_yticklabels()] == labels
    console = Console(width=120, file=io.StringIO())
    console.print(before.table())
    best = before.best_layer("nasca", "deu_Latn")
    assert best in labels and f"{best} (" in console.file.getvalue()
