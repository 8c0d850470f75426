"""A language that the tokenizer does not know is no finding in any table, picture, page or `emergence`."""

import io
import json
import re
import warnings
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tests.tiny import make_model, make_tokenizer
from xalign import load_pairs, measure
from xalign.metrics.scale import Scale
from xalign.results.emergence import emergence
from xalign.results.history import History
from xalign.results.standing import standing
from xalign.views.emergence import emergence_figure

SAID = "rus_Cyrl, unknown 66 %"


@pytest.fixture(scope="module")
def report():
    """A report of which every score is clearly above floor and chance, and two thirds of Russian unknown."""
    pairs = load_pairs("bundled", ["deu_Latn", "rus_Cyrl"], n=40)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = measure(make_model("llama"), make_tokenizer(), pairs, ["nasca"], step=0)
    ones = {code: values | True for code, values in found.metrics["nasca"].values.items()}
    stats = found.stats | {"rus_Cyrl": replace(found.stats["rus_Cyrl"], unknown_share=0.66)}
    return replace(found, metrics={"nasca": replace(found.metrics["nasca"], values=ones)}, stats=stats)


@given(low=st.floats(0, 1), high=st.floats(0, 1), unknown=st.floats(0, 1))
def test_no_score_of_such_a_language_stands_anywhere(low, high, unknown):
    """66 % unknown tokens: stderr said that scores say nothing, and the table marked them `>`."""
    scale = Scale("NASCA", bounds=(0.0, 1.0))
    stands = standing((min(low, high), max(low, high)), [0.1], scale, unknown)
    assert (stands == "unknown") == (unknown > 0.5)


def test_the_table(report):
    """The line of such a language was `>` and not dim."""
    console = Console(width=80, file=io.StringIO())
    console.print(report.table())
    lines = {line.split()[0]: line.split() for line in console.file.getvalue().splitlines() if "_" in line}
    assert lines["deu_Latn"][5] == ">" and lines["rus_Cyrl"][5] == "?"
    assert [row.style for row in report.table().rows][:2] == ["", "dim"]


def test_the_heatmap(report):
    """All cells of such a language were bold."""
    axes = report.figure("nasca").axes[0]
    weights = {(round(text.get_position()[1]), text.get_fontweight()) for text in axes.texts}
    assert (0, "bold") in weights and (1, "bold") not in weights
    assert [one.get_text() for one in axes.get_yticklabels()] == [
        "German\ndeu_Latn",
        "Russian\n" + SAID.replace(", ", "\n"),
    ]


def test_emergence_and_its_picture(report):
    """Such a language emerged at the first step."""
    history = History()
    for step in (0, 10):
        history.append(replace(report, step=step))
    found = {row["language"]: row["emerged_at"] for row in emergence(history) if row["layer"] == "mean"}
    assert found == {"deu_Latn": 0, "rus_Cyrl": None}
    figure = emergence_figure([replace(report, step=step) for step in (0, 10)])
    said = "Russian " + SAID.replace(", ", "\n")
    assert said in [line.get_label() for line in figure.axes[1].lines]


def test_the_page_of_a_report_and_of_a_history_alone(report, tmp_path):
    """The page did not show the share at all."""
    history = History(tmp_path / "history.jsonl")
    history.append(report)
    for source in (report, History.load(tmp_path)):
        page = source.to_html(tmp_path / "report.html").read_text()
        data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])
        assert data["labels"] == {
            "deu_Latn": "German (deu_Latn)",
            "rus_Cyrl": "Russian (rus_Cyrl), unknown 66 %",
        }
        languages = data["metrics"]["nasca"]["languages"]
        assert [languages[code]["sign"] for code in data["labels"]] == [">", "?"]
