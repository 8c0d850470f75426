"""The options of `measure`: written once, whole in the provenance, and marked where they must agree."""

import json
from dataclasses import fields

import pytest
import torch

from tests.tiny import make_model, make_tokenizer
from xalign import LanguageVector, Site, load_pairs, measure
from xalign.errors import ArgumentError, ArgumentTypeError, ReportError
from xalign.finding import language_means
from xalign.measurement.options import MeasureOptions, ReadOptions, RunOptions, split_options
from xalign.model.inputs import TextOptions
from xalign.options import COMPARED, CONTINUED, must_agree
from xalign.results.history import History

CLASSES = (TextOptions, ReadOptions, RunOptions)
PAIRS = load_pairs("bundled", ["deu_Latn"], n=6)


def test_editors_see_every_option():
    names = [one.name for cls in CLASSES for one in fields(cls)]
    assert list(MeasureOptions.__annotations__) == names
    assert len(set(names)) == len(names)


def test_every_option_stands_in_the_provenance():
    report = measure(make_model("llama"), make_tokenizer(), PAIRS, ["nasca"], max_length=12, pool="mean")
    for cls in (TextOptions, ReadOptions):
        assert {one.name for one in fields(cls)} <= report.provenance.keys()
    assert (report.provenance["max_length"], report.provenance["pool"]) == (12, "mean")
    assert report.provenance["layout"]["blocks"] == "layers"
    json.dumps(report.provenance)


def test_vectors_are_named_by_their_values():
    model, tokenizer = make_model("llama"), make_tokenizer()
    found = []
    for value in (0.0, 0.0, 1.0):
        vector = LanguageVector("deu_Latn", {Site("gate", 0): torch.full((80,), value)}, state="active")
        with pytest.warns(UserWarning, match="subtract has no vector of"):
            report = measure(model, tokenizer, PAIRS, ["nasca"], subtract={"deu_Latn": vector})
        found.append(report.provenance["subtract"]["deu_Latn"])
    assert found[0] == found[1]
    assert found[0]["sha256"] != found[2]["sha256"]
    assert found[0]["readings"] == "0.gate:active:weighted"


def test_what_must_agree_is_a_mark_on_the_field():
    assert must_agree(TextOptions, COMPARED) == tuple(one.name for one in fields(TextOptions))
    assert must_agree(ReadOptions, COMPARED) == ("stack",)
    assert must_agree(ReadOptions, CONTINUED) == ("subtract", "steered")


# `source_codes` needs a tokenizer that marks languages; see tests/model/test_language_marks.py.
@pytest.mark.parametrize("name", [one for one in must_agree(TextOptions, COMPARED) if one != "source_codes"])
def test_reports_under_other_text_options_are_not_compared(name):
    model, tokenizer = make_model("llama"), make_tokenizer()
    other = {
        "template": "query: {text}",
        "template_pooled": True,
        "pool_special_tokens": False,
        "truncate": True,
        "max_length": 8,
    }
    plain = measure(model, tokenizer, PAIRS, ["nasca"], step=0)
    changed = measure(model, tokenizer, PAIRS, ["nasca"], step=1, **{name: other[name]})
    with pytest.raises(ReportError, match=f"{name} was .* before and"):
        changed.compare(plain)
    history = History()
    history.append(plain)
    with pytest.raises(ReportError, match=f"{name} was .* at step 0"):
        history.append(changed)


def test_steering_may_be_compared_and_not_continued():
    model, tokenizer = make_model("llama"), make_tokenizer()
    plain = measure(model, tokenizer, PAIRS, ["nasca"], step=0)
    steered = measure(model, tokenizer, PAIRS, ["nasca"], step=1, steered=_as_it_is)
    assert steered.compare(plain)
    history = History()
    history.append(plain)
    with pytest.raises(ReportError, match=r"steered was None at step 0 and is '.*_as_it_is'"):
        history.append(steered)


def _as_it_is(language):
    return torch.no_grad()


def test_old_names_of_options():
    with pytest.warns(DeprecationWarning, match="nas= is deprecated .* use state_site=") as warned:
        _, read, _ = split_options({"nas": "inner"})
    assert read.state_site == "inner"
    assert len(warned) == 1
    with pytest.warns(DeprecationWarning, match="nav= is deprecated .* use value_site="):
        assert split_options({"nav": "gate"})[1].value_site == "gate"
    with pytest.raises(ArgumentError, match="nas= is the old name of state_site=; give one of them"):
        split_options({"nas": "gate", "state_site": "inner"})
    with pytest.raises(ArgumentError, match="nas= is the old name of state_site=; give one of them"):
        language_means(make_model("llama"), make_tokenizer(), PAIRS.texts, nas="gate", state_site="inner")


@pytest.mark.parametrize("name", ["template_pooled", "truncate", "include_embedding", "progress"])
def test_switches_are_booleans(name):
    with pytest.raises(ArgumentTypeError, match=f"{name}='no' must be True or False, not str"):
        split_options({name: "no"})


def test_an_unknown_option_is_told_the_nearest_one():
    with pytest.raises(
        ArgumentTypeError, match="measure has no option 'tokn_budget', did you mean token_budget"
    ):
        split_options({"tokn_budget": 3})
