"""Tables, figures and the page ask a metric's scale: its axis, its floor, and which way is better."""

import html
import io
import json
import re

import numpy as np
import pytest
from rich.console import Console

from tests.reports import DISTANCE, own_metrics, report_of, result, two_stacks
from tests.views.opened import drawn_in, opened
from xalign import Site
from xalign.metrics.scale import Scale
from xalign.results.history import History
from xalign.views.digits import decimals_of
from xalign.views.emergence import emergence_figure
from xalign.views.heatmap import heatmap
from xalign.views.page import write_page
from xalign.views.stages import stages_figure, stages_table
from xalign.views.table import comparison_table, report_table


@pytest.fixture(scope="module")
def reports():
    return [own_metrics(step, distance) for step, distance in ((0, 1000.0), (10, 1020.0))]


def styled(table, width=110):
    """Each line of a table, and whether it is dim."""
    console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system="standard")
    console.print(table)
    lines = console.file.getvalue().splitlines()
    return [(re.sub(r"\x1b\[[\d;]*m", "", line), "\x1b[2m" in line) for line in lines]


def test_decimals():
    assert decimals_of(Scale("Share", bounds=(0.0, 1.0)), [0.0001]) == 3
    assert decimals_of(Scale("Margin", bounds=(-2.0, 2.0)), [0.0001]) == 3
    assert decimals_of(Scale("Percent", bounds=(0.0, 100.0)), []) == 1
    assert decimals_of(DISTANCE, [1000.0, 1000.5]) == 4
    assert decimals_of(DISTANCE, [1e9, 3e9]) == 0
    assert decimals_of(DISTANCE, [1e-30]) == 12
    assert decimals_of(DISTANCE, [0.0, 0.0]) == decimals_of(DISTANCE, []) == 3


def test_the_table_leaves_out_a_floor_that_is_not_there(reports):
    lines = styled(report_table(reports[0]))
    distance = [(line, dim) for line, dim in lines if " distance " in line][:3]
    assert len(distance) == 3  # two languages and their mean
    score = reports[0].score("distance", "deu_Latn")
    assert f"{score:.2f}" in distance[0][0] and "embed (" in distance[0][0]
    assert not any(dim for _, dim in distance)
    assert not any(re.search(r"\] +[<~>]", line) for line, _ in distance)
    misses = [(line, dim) for line, dim in lines if " misses " in line][:2]
    # Misses lie below their floor: that is the good side, and nothing is dim.
    assert all("<" in line and "0.667" in line for line, _ in misses)
    assert not any(dim for _, dim in misses)


def test_the_table_dims_what_is_above_a_floor_of_misses(reports):
    report = reports[0]
    low = report_of(
        misses=result(
            "misses",
            report.scale("misses"),
            report.sites("misses"),
            report.metrics["misses"].values["deu_Latn"],
            np.zeros(12, dtype=bool),
        )
    )
    lines = [(line, dim) for line, dim in styled(report_table(low)) if " misses " in line][:2]
    assert all(">" in line and dim for line, dim in lines)
    captions = " ".join(
        line for line, _ in styled(report_table(report_of(distance=report.metrics["distance"])))
    )
    assert "floor:" not in captions and "chance: none" in captions


def test_tables_of_differences(reports):
    text = "\n".join(line for line, _ in styled(stages_table({"before": reports[0], "after": reports[1]})))
    assert text.count("+20.00 ") >= 3 and "None" not in text
    small = report_of(
        distance=result("distance", DISTANCE, [Site("hidden", 0)], np.full((1, 12), 0.00025)),
    )
    text = "\n".join(line for line, _ in styled(comparison_table(small.compare(small))))
    assert "0.0002500" in text


def test_the_heatmap_has_the_axis_of_its_values_and_no_floor(reports):
    axes = heatmap(reports[0], "distance").axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["embed", "0", "final", "mean"]
    grid = np.ma.filled(axes.images[0].get_array(), np.nan)
    assert axes.images[0].get_clim() == (np.nanmin(grid), np.nanmax(grid))
    assert {(text.get_style(), text.get_weight()) for text in axes.texts} == {("normal", "normal")}
    assert axes.get_title(loc="left") == "Mean distance with English eng_Latn, step 0"
    unit, ends = axes.figure.axes[1].get_ylabel().split("\n")
    assert unit == "nats" and ends.startswith("colours from 10") and ends.endswith(", lower is better")
    assert axes.figure.get_supxlabel() == ""
    assert axes.texts[0].get_text() == f"{grid[0, 0]:.1f}"


def test_the_heatmap_mirrors_what_is_bold(reports):
    axes = heatmap(reports[0], "misses").axes[0]
    bold = {text.get_position() for text in axes.texts if text.get_weight() == "bold"}
    assert bold == {
        (column, row) for column in (1, 2, 4) for row in (0, 1)
    }  # embed misses more than its floor
    grid = np.ma.filled(axes.images[0].get_array(), np.nan)
    assert axes.images[0].get_clim() == (np.nanmin(grid), np.nanmax(grid))
    assert "bold: whole 95 % interval below the language's floor and chance" in axes.figure.get_supxlabel()


def test_the_heatmap_of_equal_values(tmp_path):
    equal = result("distance", DISTANCE, [Site("hidden", 0)], np.full((1, 12), 5.0))
    heatmap(report_of(distance=equal), "distance").savefig(tmp_path / "equal.png")


def test_curves_have_their_own_axis_and_no_floor(reports):
    axes = stages_figure({"before": reports[0], "after": reports[1]}, "distance").axes[0]
    assert len(axes.lines) == 2
    assert axes.get_ylim()[0] > 900
    assert stages_figure({"before": reports[0], "after": reports[1]}, "misses").axes[0].get_ylim() == (
        -0.02,
        1.02,
    )
    figure = emergence_figure(reports, metric="distance")
    layers, curves = figure.axes[:2]
    assert layers.images[0].get_clim()[0] > 900 and curves.get_ylim()[0] > 900
    assert len(curves.lines) == 2
    assert curves.get_legend().get_title().get_text() == "95 % bands"
    assert len(emergence_figure(reports, metric="misses").axes[1].lines) == 5  # with chance
    assert emergence_figure(reports, metric="misses").axes[1].get_ylim() == (0, 1)


def data_of(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(), re.DOTALL)[1])


def test_the_page_says_what_it_must_know(reports, tmp_path):
    history = History()
    for report in reports:
        history.append(report)
    found = data_of(write_page(history, tmp_path / "page.html"))["metrics"]
    distance, misses = found["distance"], found["misses"]
    assert (distance["name"], distance["unit"], distance["is_share"]) == ("Mean distance", "nats", False)
    assert not distance["higher_is_better"] and not misses["higher_is_better"] and misses["is_share"]
    one = distance["languages"]["deu_Latn"]
    assert (one["floor"], one["chance"]) == (None, None)
    decimals = distance["decimals"]
    for step, report in enumerate(reports):
        assert one["score"][step] / 10**decimals == pytest.approx(
            report.score("distance", "deu_Latn"), abs=0.5 / 10**decimals
        )
    assert misses["languages"]["deu_Latn"]["chance"] == 0.75
    worst = data_of(write_page(reports[0], tmp_path / "one.html"))["worst"]["distance"]["deu_Latn"]
    scores = [score for _, score, _, _ in worst["pairs"]]
    assert scores == sorted(scores, reverse=True)


def text_of(elements, tag, name):
    return re.findall(rf'<{tag}[^>]*id="{name}"[^>]*>(.*?)</{tag}>', elements, re.DOTALL)[0]


@pytest.mark.thorough
@pytest.mark.browser
def test_the_page_draws_no_floor_and_no_chance_where_there_is_none(reports, browser, tmp_path):
    history = History()
    for report in reports:
        history.append(report)
    page = write_page(history, tmp_path / "page.html")
    elements, said = opened(browser, page, "--dump-dom", metric="distance")
    assert said == []
    drawn = drawn_in(elements)
    assert (drawn["curves"], drawn["floors"], drawn["maps"]) == (2, 0, 2)
    assert 'class="chance"' not in elements
    assert text_of(elements, "h2", "curves-title") == "Mean distance by step, mean of layers"
    note = text_of(elements, "p", "curves-note")
    assert "Lower is better" in note and "floor" not in note and "chance" not in note
    heads = re.findall(r"<th scope=\"col\"[^>]*>(.*?)</th>", elements)
    assert "lowest" in heads and "floor" not in heads and "chance" not in heads
    assert (
        elements.count('<span class="warn">yes</span>') == 2 and "risen since the lowest" in heads
    )  # 20 more than at its best
    ticks = [float(number) for number in re.findall(r'text-anchor="end">([-\d.]+)<', elements)]
    assert min(ticks) > 900 and max(ticks) < 1100

    elements, said = opened(browser, page, "--dump-dom", metric="misses")
    assert said == []
    assert drawn_in(elements)["floors"] == 2 and 'class="chance"' in elements
    assert min(float(number) for number in re.findall(r'text-anchor="end">([-\d.]+)<', elements)) == 0


@pytest.mark.browser
def test_the_page_breaks_curves_between_stacks(browser, tmp_path):
    page = write_page(two_stacks(), tmp_path / "page.html")
    elements, said = opened(browser, page, "--dump-dom")
    assert said == []
    for curve in re.findall(r'<path class="curve"[^>]* d="([^"]*)"', elements):
        assert curve.count("M") == 2 and curve.count("L") == 2  # two layers in each stack
    assert ">encoder.0<" in elements and ">decoder.1<" in elements


@pytest.mark.browser
def test_text_that_looks_like_a_placeholder(browser, tmp_path):
    report, names = own_metrics(), "__SCRIPT__ __STYLE__ __DATA__"
    report.provenance["model"] = names
    page = write_page(report, tmp_path / "page.html")
    elements, said = opened(browser, page, "--dump-dom")
    assert said == [] and html.escape(names) in elements
