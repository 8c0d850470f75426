"""Figures of several models and runs, lines that can be told apart, and pictures by their ending."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from tests.reports import PAIRS, own_metrics, two_stacks
from xalign.errors import ArgumentError, ReportError
from xalign.results.history import History
from xalign.views.compared import models_figure, runs_figure
from xalign.views.lines import OKABE_ITO, coinciding, draw_floors, style_of
from xalign.views.picture import save_picture


def test_models_stand_beside_each_other_with_intervals_and_floors():
    reports = {"first": two_stacks(seed=0), "second": two_stacks(seed=1)}
    axes = models_figure(reports, "nasca").axes[0]
    lines = {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}
    assert list(lines) == ["first", "second", "chance (0.043)"]
    for name, report in reports.items():
        assert list(lines[name].get_xdata()) == [report.score("nasca", code) for code in report.languages]
        drawn = [
            tuple(line.get_xdata()) for line in axes.lines if line.get_color() == lines[name].get_color()
        ]
        for code in report.languages:
            assert report.interval("nasca", code) in drawn
            assert (report.floor("nasca", code),) * 2 in drawn
    heights = [line.get_ydata() for line in (lines["first"], lines["second"])]
    assert np.all(heights[0] > heights[1])  # no model hides another
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["German deu_Latn", "Russian rus_Cyrl"]
    order = np.argsort(axes.get_yticks())[::-1]
    assert [labels[place] for place in order] == labels  # from the top down


def test_models_without_floor_and_chance():
    axes = models_figure({"one": own_metrics(), "two": own_metrics(distance=900.0)}, "distance").axes[0]
    assert not any("chance" in str(line.get_label()) for line in axes.lines)


@pytest.mark.parametrize(
    ("reports", "error", "message"),
    [
        (lambda one: {"one": one}, ArgumentError, "reports has 1; at least two"),
        (lambda one: {"one": one, "two": own_metrics()}, ArgumentError, "'nasca' is not in report 'two'"),
        (
            lambda one: {"one": one, "two": replace(one, pairs=PAIRS.only(["de"]))},
            ReportError,
            "of different sentences",
        ),
    ],
)
def test_models_that_cannot_be_compared(reports, error, message):
    with pytest.raises(error, match=message):
        models_figure(reports(two_stacks()), "nasca")


def history_of(*reports):
    history = History()
    for report in reports:
        history.append(report)
    return history


def test_runs_by_step():
    runs = {
        "seed 0": history_of(*(own_metrics(step) for step in (0, 10, 20))),
        "seed 1": history_of(*(own_metrics(step) for step in (0, 20))),
    }
    figure = runs_figure(runs, "misses")
    assert [axes.get_title() for axes in figure.axes] == ["German deu_Latn", "Russian rus_Cyrl"]
    for axes, code in zip(figure.axes, PAIRS, strict=True):
        first, second = axes.lines[0], axes.lines[2]  # each is followed by its floor
        assert list(first.get_xdata()) == [0, 10, 20] and list(second.get_xdata()) == [0, 20]
        assert first.get_ydata()[-1] == pytest.approx(own_metrics().score("misses", code))
        assert axes.lines[1].get_ydata()[0] == pytest.approx(8 / 12)
        assert len(axes.collections) == 2  # a band per run
    for bad, message in (
        ({"a": runs["seed 0"]}, "runs has 1"),
        ({"a": runs["seed 0"], "b": History()}, "run 'b' has no 'misses'; it has: nothing"),
    ):
        with pytest.raises(ArgumentError, match=message):
            runs_figure(bad, "misses")


def luminance(colour):
    return float(np.dot(to_rgb(colour), (0.2126, 0.7152, 0.0722)))


def test_lines_differ_in_colour_or_dashes():
    styles = [style_of(number) for number in range(24)]
    assert len({(one["color"], str(one["linestyle"])) for one in styles}) == 24
    assert all(luminance(colour) < 0.75 for colour in OKABE_ITO)  # seen on paper


def test_floors_that_lie_on_each_other_take_turns():
    axes = Figure().add_subplot()
    axes.set_ylim(0, 1)
    floors = {"a": 0.30, "b": 0.302, "c": 0.6}
    draw_floors(axes, floors, dict(zip(floors, OKABE_ITO, strict=False)))
    assert [text.get_text() for text in axes.texts] == [".30 ×2", ".60"]
    assert [line.get_ydata()[0] for line in axes.lines] == [0.30, 0.302, 0.6]
    (start_a, (on_a, off_a)), (start_b, (on_b, off_b)) = (
        line._unscaled_dash_pattern for line in axes.lines[:2]
    )
    assert (on_a, off_a) == (on_b, off_b) and off_a >= on_a  # room for the dots of the other
    assert abs(start_a - start_b) >= on_a
    assert coinciding([], 1.0) == []


@pytest.mark.parametrize(("ending", "begins"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("PDF", b"%PDF")])
def test_a_picture_by_its_ending(ending, begins, tmp_path):
    paths = [tmp_path / f"{name}.{ending}" for name in "ab"]
    for path in paths:
        save_picture(two_stacks().figure("nasca"), path)
    contents = [path.read_bytes() for path in paths]
    assert contents[0].startswith(begins)
    assert contents[0] == contents[1]  # no date, no random names


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match=r"must end in \.png, \.svg, \.pdf"):
        save_picture(two_stacks().figure("nasca"), tmp_path / "a.jpeg")
    assert list(tmp_path.iterdir()) == []


def test_pandas_and_notebooks(monkeypatch):
    report = two_stacks(step=4)
    frame = report.to_pandas()
    assert frame.to_dict("records")[0]["metric"] == "nasca" and len(frame) == len(report.to_rows())
    html = report._repr_html_()
    assert "at step 4" in html and "German (deu_Latn)" in html
    assert f"{report.score('nasca', 'deu_Latn'):.3f}" in html
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ImportError, match="to_pandas needs pandas: pip install pandas"):
        report.to_pandas()
