"""A language may be spelled in any way, and a spelling is ambiguous only where two languages are there."""

import functools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from tests.tiny import make_model, make_tokenizer
from xalign import LanguageVector, Site, UnitSet, load_pairs, measure
from xalign.babel import write_pairs
from xalign.cli.app import app
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.judging.calibration import Calibration, Trial
from xalign.monitor.selection import exact_key
from xalign.pairs.languages import match_language

SPELLINGS = {
    "deu_Latn": ["deu_Latn", "deu", "de", "DE", "de-DE", "deu-Latn"],
    "zho_Hans": ["zho_Hans", "zho", "zh", "ZH", "zh-CN", "zh-Hans"],
}
EACH = [(spelling, code) for code, spellings in SPELLINGS.items() for spelling in spellings]
each_spelling = pytest.mark.parametrize(("spelling", "code"), EACH)


@functools.cache
def pairs():
    return load_pairs("bundled", ["deu_Latn", "zho_Hans"], n=4)


@functools.cache
def report():
    return measure(make_model("llama"), make_tokenizer(), pairs(), ["nasca"])


def trial(label):
    return Trial(label, "all", 1.0, 0.5, 0.1, 0.0)


@each_spelling
def test_every_mapping_by_language_takes_it(spelling, code):
    """`zh` and `zho` were refused as ambiguous where only one script is there; units took one spelling."""
    assert list(load_pairs("bundled", [spelling], n=4)) == [code]
    assert list(pairs().only([spelling])) == [code] and pairs()[spelling].language == code
    assert list(write_pairs(4, 0, languages=[spelling])) == [code]
    assert report().score("nasca", spelling) == report().score("nasca", code)
    assert report().chance("nasca", spelling) == report().chance("nasca", code)
    assert report().worst_pairs("nasca", spelling, 1) == report().worst_pairs("nasca", code, 1)
    assert exact_key(f"nasca_{spelling}", ["nasca", f"nasca_{code}"], list(pairs())) == f"nasca_{code}"
    units = UnitSet.from_rows([(one, "1.inner", 7, 0.9, 2.5) for one in SPELLINGS])
    assert units[spelling] == units[code] and units[spelling].labels == [code]
    chosen = {one: trial(one) for one in SPELLINGS}
    calibration = Calibration("set", tuple(chosen.values()), chosen, 1.0)
    assert calibration(spelling) == calibration(code)


def vector_of(code):
    """A vector of everything that NASCA reads in the tiny model."""
    return LanguageVector(
        code, {Site("gate", layer): torch.linspace(0, 1, 80) for layer in range(3)}, state="active"
    )


@pytest.mark.thorough
@each_spelling
def test_vectors_to_subtract_take_it(spelling, code):
    """`subtract` took the exact code only."""
    model, tokenizer = make_model("llama"), make_tokenizer()
    one, other = (
        measure(model, tokenizer, pairs(), ["nasca"], subtract={label: vector_of(code)})
        for label in (spelling, code)
    )
    assert one.score("nasca") == other.score("nasca")


@each_spelling
def test_the_command_line_takes_it(spelling, code, tmp_path):
    """`--languages zho` was refused for text that has only one script of it."""
    from xalign.cli.loading import load_text
    from xalign.cli.steer import _units_of

    assert list(load_text("bundled", spelling, "eng_Latn", 4)) == [code]
    UnitSet.from_rows([(code, "1.inner", 7, 0.9, 2.5)]).save_pretrained(tmp_path)
    assert _units_of(str(tmp_path), spelling).labels == [code]


def test_the_command_says_what_is_ambiguous(tmp_path):
    """The choice was between all languages of the table, not between those in the text."""
    text = tmp_path / "text.tsv"
    rows = "".join(f"{number} a\t{number} b\t{number} c\n" for number in range(9))
    text.write_text(f"eng\tkas_Deva\tkas_Arab\n{rows}")
    result = CliRunner().invoke(app, ["measure", "none", "--pairs", str(text), "--languages", "kas"])
    assert "'kas' is ambiguous: choose one of kas_Deva, kas_Arab" in " ".join(result.output.split())


def test_where_two_scripts_are_there_it_is_ambiguous():
    units = UnitSet.from_rows([(one, "1.inner", 7, 0.9, 2.5) for one in ("zho_Hans", "zho_Hant")])
    with pytest.raises(ArgumentError, match="'zh' is ambiguous: choose one of zho_Hans, zho_Hant"):
        units["zh"]
    assert units["zh-TW"].labels == ["zho_Hant"]
    with pytest.raises(ArgumentError, match="subtract has deu_Latn twice"):
        twice = dict.fromkeys(("de", "deu"), vector_of("deu_Latn"))
        measure(make_model("llama"), make_tokenizer(), pairs(), ["nasca"], subtract=twice)


@pytest.mark.parametrize(
    ("code", "known", "found"),
    [
        ("sr", ["srp_Latn"], "srp_Latn"),
        ("uz", ["uzn_Cyrl"], "uzn_Cyrl"),  # not the script that it is mostly written in
        ("xyz", ["xyz_Latn"], "xyz_Latn"),  # not in the table
        ("de", ["deu_Latn", "deu_Cyrl"], "deu_Latn"),
        ("zh-TW", ["zho_Hans"], None),
        ("fr", ["deu_Latn"], None),
        ("klingon", ["deu_Latn"], None),
        ("tox", ["toxicity"], None),
        ("toxicity", ["toxicity"], "toxicity"),
        ("", ["deu_Latn"], None),
        (3, ["deu_Latn"], None),
    ],
)
def test_what_a_spelling_means(code, known, found):
    assert match_language(code, known) == found


@given(st.text(max_size=8), st.lists(st.sampled_from(["deu_Latn", "zho_Hans", "zho_Hant", "x"]), unique=True))
def test_any_text_means_one_of_them_or_none(code, known):
    try:
        found = match_language(code, known)
    except ArgumentError as error:
        assert "is ambiguous" in str(error)
    else:
        assert found is None or found in known


@pytest.mark.parametrize("wrong", ["klingon", "xx", "fr", "zh-TW"])
def test_what_is_not_there_is_refused_as_before(wrong):
    for ask in (lambda: load_pairs("bundled", [wrong]), lambda: pairs().only([wrong])):
        with pytest.raises(ArgumentError, match="unknown|not found in bundled; it has|not among"):
            ask()
    with pytest.raises(ArgumentError, match="is not in this report; it has"):
        report().score("nasca", wrong)
    with pytest.raises(ArgumentTypeError, match="must be a list"):
        load_pairs("bundled", "deu")
    with pytest.raises(ArgumentError, match="more than once"):
        load_pairs("bundled", ["zh", "zho_Hans"])
    with pytest.raises(KeyError):
        pairs()["fra"]
