"""The page: one file that opens from disk, draws what it says, and stays small."""

import copy
import html
import json
import re

import pytest

from tests.cli.typed import xalign
from tests.tiny import make_model, make_tokenizer
from tests.views.opened import drawn_in, opened
from xalign import ParallelPairs, measure
from xalign.errors import ReportError
from xalign.results.history import History, entry_of
from xalign.views.page import write_page

# A sentence that would end the page's data, if it were not escaped.
HOSTILE = '</script><script>throw 1</script><b>bold</b> & "quoted"'
PAIRS = ParallelPairs(
    texts={
        "eng_Latn": [f"Sentence number {number}." for number in range(8)],
        "deu_Latn": [HOSTILE, *(f"Satz Nummer {number}." for number in range(1, 8))],
        "arb_Arab": [f"جملة رقم {number}." for number in range(8)],
    }
)


@pytest.fixture(scope="module")
def reports():
    return [
        measure(make_model("llama", seed=step), make_tokenizer(), PAIRS, ["nasca", "margin"], step=step)
        for step in (0, 10, 20)
    ]


@pytest.fixture
def run(reports, tmp_path):
    history = History(tmp_path / "run" / "alignment" / "history.jsonl")
    for report in reports:
        history.append(report)
        report.save(tmp_path / "run" / "alignment" / f"step-{report.step:08d}")
    return tmp_path / "run"


@pytest.mark.thorough
@pytest.mark.browser
def test_it_draws_every_curve_cell_and_label(run, browser, tmp_path):
    page = write_page(run, tmp_path / "report.html")
    elements, said = opened(browser, page, "--dump-dom")
    assert said == []
    # Labels: five ticks of the scale, eleven of the steps from 0 to 20, one per map.
    assert drawn_in(elements) == {
        "curves": 2, "bands": 2, "floors": 2, "cells": 2 * 3 * 3, "labels": 5 + 11 + 2, "maps": 2
    }  # fmt: skip
    assert len(re.findall(r'<path class="curve"', elements)) == 2
    assert len(re.findall(r"<canvas[^>]*tabindex=\"0\"", elements)) == 2
    assert len(re.findall(r"<button[^>]*aria-pressed", elements)) == 2
    assert html.escape(HOSTILE, quote=False) in elements  # as text, among the worst pairs
    assert "جملة رقم" in elements
    picture = tmp_path / "page.png"
    _, said = opened(browser, page, f"--screenshot={picture}")
    assert said == [] and picture.stat().st_size > 20_000


@pytest.mark.browser
def test_a_single_report_has_curves_by_layer(reports, browser, tmp_path):
    page = reports[-1].to_html(tmp_path / "report.html")
    elements, said = opened(browser, page, "--dump-dom")
    assert said == []
    assert drawn_in(elements)["cells"] == 2 * 3
    assert "NASCA by layer" in elements


@pytest.mark.thorough
@pytest.mark.browser
def test_a_hundred_languages_and_fifty_evaluations(reports, browser, tmp_path):
    """100 languages × 40 layers × 50 evaluations: under 15 MB, and all of it drawn."""
    entry, history = entry_of(reports[0]), History()
    small = entry["metrics"]["nasca"]
    values = [0.123456] * 41
    numbers = {"n": 8, "chance": 0.06, "floor": 0.1, "value": values, "low": values, "high": values}
    large = small | {
        "layers": [*range(40), "mean"],
        "languages": {f"l{number:02d}_Latn": numbers for number in range(100)},
    }
    for number in range(50):
        one = copy.deepcopy(entry) | {"step": 10 * number, "metrics": {"nasca": large}}
        history.entries.append(one)
    page = history.to_html(tmp_path / "report.html")
    assert page.stat().st_size < 15_000_000
    elements, said = opened(browser, page, "--dump-dom")
    assert said == []
    found = drawn_in(elements)
    assert (found["curves"], found["maps"], found["cells"]) == (100, 100, 200_000)


def data_of(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(), re.DOTALL)[1])


@pytest.mark.browser
def test_on_a_phone_everything_is_within_the_window(run, browser, tmp_path):
    """At 400 pixels the curves were 640 wide, so that the last value was out of sight."""
    page = write_page(run, tmp_path / "report.html")
    width = "document.body.dataset.wide = document.documentElement.scrollWidth"
    frame = tmp_path / "frame.html"
    frame.write_text(
        page.read_text().replace("</body>", f"<script>{width}</script></body>").replace("<body>", BODY)
    )
    elements, said = opened(browser, frame, "--dump-dom")
    assert said == []
    assert float(re.search(r'viewBox="0 0 ([\d.]+) ', elements)[1]) <= 400
    assert int(re.search(r'data-wide="(\d+)"', elements)[1]) <= 1200
    headings = re.findall(r'<th scope="col"[^>]*>([^<]*)<', elements)
    assert headings[:3] == ["language", "last", "95 %"]
    ticks = re.findall(r'<div class="layers"[^>]*>(.*?)</div>', elements)[0].count('class="tick"')
    assert 2 <= ticks <= 10  # each layer, or every second, fourth …


BODY = '<body style="width: 400px">'


def test_worst_pairs_say_how_many_are_as_bad(run, reports, tmp_path):
    """Five of 89 pairs that all scored 0 were shown as the worst ones."""
    data = data_of(write_page(run, tmp_path / "report.html"))
    for row, code in (("nasca", "arb_Arab"), ("margin", "deu_Latn")):
        scores, found = reports[-1].per_pair(row, code), data["worst"][row][code]
        assert found["tied"] == sum(scores == min(scores))
        assert len(found["pairs"]) == 5 and found["pairs"][0][1] == min(scores)


def test_a_metric_of_two_rows_is_there_as_a_whole(tmp_path):
    """Retrieval was in the table and the heatmap, but not on the page."""
    report = measure(make_model("llama"), make_tokenizer(), PAIRS, ["nasca", "retrieval"])
    data = data_of(report.to_html(tmp_path / "report.html"))
    assert list(data["metrics"]) == ["nasca", "retrieval", *list(report.metrics)[1:]]
    for code in report.languages:
        one = data["metrics"]["retrieval"]["languages"][code]
        low, high = report.interval("retrieval", code)
        assert [one["score"][0], one["low"][0], one["high"][0]] == [
            round(1000 * number) for number in (report.score("retrieval", code), low, high)
        ]
        assert one["values"][0] == [round(1000 * v) for v in report.mean_by_layer("retrieval", code)]
    assert set(data["worst"]) == set(data["metrics"])


def test_what_was_set_is_said_in_words(reports, run, tmp_path):
    """Raw keys: `own_functions {}`, `template_pooled False`; and "5.0 s in all, 5.01 s each" of one."""
    about = data_of(reports[0].to_html(tmp_path / "report.html"))["about"]
    assert about["template pooled"] == "no" and not any("_" in name or "{" in name for name in about)
    assert "{}" not in about.values() and re.fullmatch(r"[\d.]+ s", about["measuring took"])
    assert " in all, " in data_of(write_page(run, tmp_path / "report.html"))["about"]["measuring took"]


def test_its_numbers_are_those_of_the_history(run, tmp_path):
    data = data_of(write_page(run / "alignment" / "history.jsonl", tmp_path / "report.html"))
    assert data["steps"] == [0, 10, 20]
    for row in History.load(run).to_rows():
        found = data["metrics"][row["metric"]]
        one, place = found["languages"][row["language"]], data["steps"].index(row["step"])
        if row["layer"] == "mean":
            assert one["score"][place] == round(1000 * row["value"])
            assert (one["low"][place], one["high"][place]) == (
                round(1000 * row["low"]),
                round(1000 * row["high"]),
            )
            assert (one["floor"], one["chance"]) == (row["floor"], row["chance"])
        else:
            assert one["values"][place][found["layers"].index(str(row["layer"]))] == round(
                1000 * row["value"]
            )


def test_it_needs_no_network(run, tmp_path):
    page = write_page(run, tmp_path / "report.html").read_text()
    assert "http://www.w3.org/2000/svg" in page  # a name, no address
    assert not re.search(r"(src|href)=", page)
    assert page.count("http") == 1


def test_the_command(run, tmp_path):
    done = xalign("page", run, "--out", tmp_path / "here.html")
    assert done.exit_code == 0 and "wrote" in done.stdout
    assert (tmp_path / "here.html").is_file()
    done = xalign("page", tmp_path)
    assert done.exit_code == 2 and "holds no history.jsonl and no report.json" in done.stderr
    done = xalign("page", run, "--out", tmp_path)
    assert done.exit_code == 2 and "is a folder; name the file" in done.stderr


def test_an_empty_history_is_refused(tmp_path):
    (tmp_path / "history.jsonl").touch()
    done = xalign("page", tmp_path, "--out", tmp_path / "page.html")
    assert f"source='{tmp_path}' holds nothing that was measured" in done.stderr.replace("\n", "")
    with pytest.raises(ReportError, match="holds nothing that was measured"):
        write_page(History(), tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()
