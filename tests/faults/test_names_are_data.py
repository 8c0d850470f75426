"""Names and sentences are data: none of them acts on a terminal, a table, a card, a figure or a page."""

import io
import json
import re
import sys
import unicodedata
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import regex
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from tests.reports import PAIRS, N, own_metrics
from xalign import LanguageVector, ParallelPairs, Site, UnitSet
from xalign.errors import ArgumentError, XAlignError
from xalign.escape import cell, code, figure_text, markdown, plain
from xalign.judging.calibration import Calibration, Trial
from xalign.judging.evaluation import Evaluation, Observation
from xalign.trackers.tensorboard import TENSORBOARD
from xalign.trackers.wandb import WANDB
from xalign.views.page import write_page

PARTS = [
    *(
        "[red]",
        "[/red]",
        "[/]",
        "[link=http://x]",
        "\\",
        ":warning:",
        "\x1b[31m",
        "\x1b]8;;http://x\x07",
        "\x9b2J",
    ),
    *(
        "\r",
        "\n",
        "\n\n",
        "\t",
        "\0",
        "\x08",
        "\u202e",
        "\u2028",
        "\u2066",
        "<script>alert(1)</script>",
        "<b>",
    ),
    *(
        "</td>",
        "<!--",
        "-->",
        "&lt;",
        "&#60;",
        "`",
        "``",
        "```",
        "\n```\n",
        "|",
        "\n| a | b |\n",
        "](x)",
        "[a](b)",
    ),
    *(
        "![i](http://x)",
        "**b**",
        "_i_",
        "__b__",
        "~~s~~",
        "# h",
        "\n# h\n",
        "- l",
        "---",
        "\n---\n",
        "1. ",
        "> q",
    ),
    *(
        "http://evil.example",
        "www.evil.example",
        "a@b.example",
        "$\\frac{",
        "$$",
        "{{x}}",
        "__DATA__",
        "\ud800",
    ),
    *("deu_Latn", "model.layers.0", "x", " ", "名前", "שלום"),
]
HIDDEN = [  # what hides or turns text, but for the joiners that scripts are written with
    letter
    for letter in map(chr, range(sys.maxunicode + 1))
    if regex.match(r"[\p{Cf}&&\p{Default_Ignorable_Code_Point}]", letter, regex.V1)
    and letter not in "\u200c\u200d"
]
names = (
    st.lists(st.sampled_from(PARTS) | st.text(max_size=4), min_size=1, max_size=5)
    .map("".join)
    .filter(str.strip)
)
# Files and the Hub take no half of a surrogate pair: `save` refuses it.
savable = names.map(lambda name: name.replace("\ud800", "")).filter(str.strip)
# Names of every kind of the list, so that each is tried whatever hypothesis draws.
ALL = "".join(part for part in PARTS if part != "\ud800")


def examples(test):
    """Try every part, and all of them in one name, beside what hypothesis draws."""
    for part in PARTS:
        test = example(part if part.strip() and part != "\ud800" else f"x{part}x".replace("\ud800", ""))(test)
    return example(ALL)(settings(max_examples=25)(test))


def printed(table):
    """What a terminal gets, without the codes that rich itself writes."""
    file = io.StringIO()
    Console(file=file, width=20_000, force_terminal=True, color_system=None).print(table)
    return re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue())


def controls(text):
    return {letter for letter in text if unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp")} - {"\n"}


def test_what_hides_or_turns_text_is_shown():
    """Marks of direction, U+200B, U+FEFF, soft hyphens and tags passed, and names looked like others."""
    assert {"\u200f", "\u061c", "\u200b", "\ufeff", "\u00ad", "\U000e0041", "\u202e"} <= set(HIDDEN)
    for letter in HIDDEN:
        assert plain(f"a{letter}b") == "a" + letter.encode("unicode_escape").decode() + "b"
        assert letter not in str(XAlignError(letter))
    assert plain("می\u200cخواهم क्\u200dष ❤\ufe0f") == "می\u200cخواهم क्\u200dष ❤\ufe0f"


def shape_of(text):
    """The blocks of a Markdown text, and what stands in their lines beside text."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(text)
    return [
        (token.type, token.map and token.map[0], [one.type for one in token.children or []])
        for token in tokens
    ]


def written_in(text):
    """The text of each block, as a reader sees it."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(text)
    return ["".join(one.content for one in token.children or []) for token in tokens]


def only_text(shape):
    """The shape with the pieces of a text, which escapes split, taken together."""
    return [
        (kind, line, sorted({re.sub("text_special", "text", one) for one in inline}))
        for kind, line, inline in shape
    ]


@examples
@given(names)
def test_the_tables_of_judging(name):
    """0.1.0 printed labels as rich's markup: `[red]` was swallowed, `[/]` was a MarkupError."""
    trial = Trial(name, "prompt", 1.0, 0.5, 0.25, 0.125)
    chosen = Calibration("set", (trial,), {name: trial}, 1.0)
    values = np.array([0.0, 1.0])
    judged = Evaluation((Observation(name, "units", 0, 0, name, name, values, values),), (name,))
    for table in (chosen.table(), judged.table()):
        shown = printed(table)
        assert not controls(shown)
        assert plain(name).strip() in shown


@example(ALL)
@settings(max_examples=20)
@given(names)
def test_the_table_of_a_report(name):
    """A linear site's path and a metric's name stood in the table as markup."""
    report = own_metrics()
    result = replace(report.metrics["distance"], metric="distance")
    sites = tuple(Site("linear", name=f"{number}{name}") for number in range(3))
    report = replace(report, metrics={"distance": replace(result, sites=sites)})
    shown = printed(report.table())
    assert not controls(shown)
    assert plain(name).strip() in shown


@examples
@given(savable)
def test_cards(tmp_path_factory, name):
    """0.1.0 wrote labels, sites and provenance into README.md as HTML, links and tables of their own."""
    folder = tmp_path_factory.mktemp("saved")
    cards = []
    for given_name in (name, "name"):
        provenance = {given_name: given_name, "list": [given_name]}
        site = Site("linear", name=given_name)
        UnitSet.from_rows([(given_name, site, 1, 0.5, 0.5)], provenance).save_pretrained(folder / "units")
        vector = LanguageVector(given_name, {site: torch.ones(2)}, provenance)
        vector.save_pretrained(folder / "vector")
        for kind in ("units", "vector"):
            text = (folder / kind / "README.md").read_text(encoding="utf-8")
            assert not controls(text)
            head, _, rest = text.removeprefix("---\n").partition("---\n")
            assert head == "library_name: xalign\ntags: [xalign, steering]\n"
            cards.append(rest)
    for evil, good in ((cards[0], cards[2]), (cards[1], cards[3])):
        assert only_text(shape_of(evil)) == only_text(shape_of(good))
    assert UnitSet.from_pretrained(folder / "units").labels == ["name"]


@examples
@given(names)
def test_text_in_markdown_is_that_text(name):
    """Escapes must not change what a reader sees."""
    seen = " ".join(plain(name).split())
    for text in (
        f"| {markdown(name)} | x |\n|---|---|\n",
        f"x {markdown(name)} x",
        f"# x {markdown(name)} x",
    ):
        shape = only_text(shape_of(text))
        assert {one for _, _, inline in shape for one in inline} <= {"text"}
        assert any(seen in " ".join(line.split()) for line in written_in(text))
    assert [inline for kind, _, inline in shape_of(f"- x: {code(name)}") if kind == "inline"] == [
        ["text", "code_inline"]
    ]


@examples
@given(names)
def test_the_table_of_tensorboard(name):
    """0.1.0 escaped the bar only: a sentence could hold a picture, a link or HTML."""
    written = []

    class Writer:
        def add_text(self, key, text, step):
            written.append(text)

    for one in (name, "name"):
        TENSORBOARD.log_table(Writer(), "key", [one, "score"], [[one, 0.5], [one, None]], 3)
    assert only_text(shape_of(written[0])) == only_text(shape_of(written[1]))
    assert [kind for kind, _, _ in shape_of(written[0])].count("tr_open") == 3
    assert not controls(written[0])


@example(ALL)
@settings(max_examples=20)
@given(savable)
def test_the_page(tmp_path_factory, name):
    """A sentence, a title or the model's name must not end the script that holds it."""
    report = own_metrics(step=3)
    scale = replace(report.metrics["distance"].scale, title=name, unit=name)
    texts = {code: [f"{row}{name}." for row in range(N)] for code in ("eng_Latn", *PAIRS)}
    report = replace(
        report,
        pairs=ParallelPairs(texts),
        metrics={"distance": replace(report.metrics["distance"], scale=scale)},
        provenance=report.provenance | {"model": name, "versions": {name: name}},
    )
    folder = tmp_path_factory.mktemp("page")
    page = write_page(report, folder / "report.html").read_text(encoding="utf-8")
    plain_page = write_page(own_metrics(step=3), folder / "plain.html").read_text(encoding="utf-8")
    assert page.count("<") == plain_page.count("<")
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])
    assert data["metrics"]["distance"]["name"] == name
    assert data["about"]["model"] == name


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["$\\frac{$", "a$\\b$c", "x\x00y"])
def test_figures(name):
    """0.1.0 read two dollar signs in a title as a formula: a ValueError at the end of a run."""
    report = own_metrics(step=3)
    scale = replace(report.metrics["distance"].scale, title=name, unit=name)
    sites = tuple(Site("linear", name=f"{number}{name}") for number in range(3))
    result = replace(report.metrics["distance"], scale=scale, sites=sites)
    report = replace(report, metrics={"distance": result})
    report.figure("distance").savefig(io.BytesIO(), format="png")
    from xalign.views.emergence import emergence_figure
    from xalign.views.stages import stages_figure, stages_table

    later = replace(report, step=4)
    figures = [
        emergence_figure([report, later], metric="distance", references={name: 1.0}),
        stages_figure({name: report, "later": later}, "distance"),
    ]
    for figure in figures:
        figure.savefig(io.BytesIO(), format="png")
    assert not controls(printed(stages_table({name: report, "later": later})))


@examples
@given(names)
def test_errors(name):
    """0.1.0's messages took labels as they were, so that a file could colour or clear the terminal."""
    units = UnitSet.from_rows([(name, "1.inner", 1, 0.5, 0.5)])
    with pytest.raises(ArgumentError) as error:
        _ = units["no such label"]
    assert not controls(str(error.value))
    str(error.value).encode()


@examples
@given(names)
def test_what_is_escaped_reads_the_same(name):
    """Only control characters change, and ordinary names do not change at all."""
    assert not controls(plain(name)) and "\n" not in plain(name)
    assert cell(name).plain == plain(name)
    assert figure_text(name).replace("\\$", "$") == plain(name)
    for ordinary in ("deu_Latn", "model.layers.0.mlp", "3.inner", "NASCA", "שלום", "می‌خواهم"):
        assert plain(ordinary) == markdown(ordinary) == figure_text(ordinary) == ordinary


def test_a_name_that_is_no_text_is_refused_when_it_is_saved(tmp_path):
    """Half of a surrogate pair is no text that a file can hold."""
    with pytest.raises(XAlignError, match="holds what JSON cannot"):
        UnitSet.from_rows([("\ud800", "1.inner", 1, 0.5, 0.5)]).save_pretrained(tmp_path / "units")
    assert not list((tmp_path / "units").iterdir())


def test_wandb_keeps_text_as_text():
    """W&B shows a cell as text where it is given as text, and nothing else."""
    import wandb

    logged = []
    run = SimpleNamespace(Table=wandb.Table, log=logged.append)
    WANDB.log_table(run, "key", ["name", "score"], [[ALL, 0.5]], 3)
    assert logged[0]["key"].data == [[ALL, 0.5]]
    assert {type(one) for one in logged[0]["key"].data[0]} == {str, float}
