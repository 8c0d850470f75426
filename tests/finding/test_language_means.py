"""Centring: at read-out by hand, online block after block, languages left alone, and refusals."""

from contextlib import nullcontext

import pytest
import torch

from tests.tiny import LAYERS, make_model, make_tokenizer
from xalign import Reading, Site, load_pairs, measure
from xalign.errors import ArgumentError, ArgumentTypeError, UnitsError
from xalign.finding.language_means import language_means
from xalign.finding.mean_difference import mean_difference
from xalign.metrics.cosine import cosine_matrix
from xalign.metrics.weak_alignment import weak_alignment
from xalign.model.batches import make_batches
from xalign.model.encode import encode
from xalign.model.read import read_states
from xalign.steering.steer import steer
from xalign.units.language_vector import LanguageVector

BUNDLED = load_pairs("bundled", languages=["deu_Latn", "rus_Cyrl"])
FITTED = {code: lines[:30] for code, lines in BUNDLED.texts.items()}
PAIRS = load_pairs("bundled", languages=["deu_Latn", "rus_Cyrl"], n=12)
SITES = ["embed.hidden", *(f"{layer}.hidden" for layer in range(LAYERS))]


def states_of(model, sentences, reading):
    encoded = encode(make_tokenizer(), sentences, language="x")
    return read_states(model, make_batches(encoded.lines, pad_id=0), [reading])[reading]


def test_read_out_by_hand():
    model, tokenizer = make_model("llama"), make_tokenizer()
    means = language_means(model, tokenizer, FITTED, ["nasca", "mexa"])
    report = measure(model, tokenizer, PAIRS, ["nasca", "mexa"], subtract=means)
    plain = measure(model, tokenizer, PAIRS, ["nasca", "mexa"])
    changed = 0
    for metric, reading, layer in (
        ("nasca", Reading(Site("gate", 1), "active", "weighted"), 1),
        ("mexa", Reading(Site("hidden", 0), "value", "weighted"), 0),
        ("mexa", Reading(Site("hidden", "final"), "value", "weighted"), "final"),
    ):
        centred = {
            code: states_of(model, PAIRS.texts[code], reading)
            - states_of(model, FITTED[code], reading).mean(dim=0)
            for code in PAIRS.texts
        }
        for code in PAIRS:
            expected = weak_alignment(cosine_matrix(centred["eng_Latn"], centred[code]))
            assert torch.equal(report.per_sentence(metric, code, layer), expected)
            changed += int((expected != plain.per_sentence(metric, code, layer)).sum())
    assert changed
    assert list(report.provenance["subtract"]) == ["deu_Latn", "eng_Latn", "rus_Cyrl"]
    assert report.compare(plain)


def test_a_language_without_vectors_is_left_as_it_is():
    model, tokenizer = make_model("llama"), make_tokenizer()
    means = language_means(model, tokenizer, FITTED, ["margin"])
    plain = measure(model, tokenizer, PAIRS, ["margin"])
    report = measure(model, tokenizer, PAIRS, ["margin"], subtract={"deu_Latn": means["deu_Latn"]})
    for code, same in (("deu_Latn", False), ("rus_Cyrl", True)):
        assert (
            torch.equal(report.per_sentence("margin", code, 1), plain.per_sentence("margin", code, 1)) == same
        )


def test_one_side_is_steered_and_the_other_not():
    model, tokenizer = make_model("llama"), make_tokenizer()
    vectors = mean_difference(model, tokenizer, FITTED, "0.hidden", from_others=False)

    def steered(code):
        return nullcontext() if code == "eng_Latn" else steer(model, vectors[code], strength=3.0)

    report = measure(model, tokenizer, PAIRS, ["mexa"], steered=steered)
    reading = Reading(Site("hidden", 1), "value", "weighted")
    english = states_of(model, PAIRS.texts["eng_Latn"], reading)
    for code in PAIRS:
        with steered(code):
            other = states_of(model, PAIRS.texts[code], reading)
        assert torch.equal(
            report.per_sentence("mexa", code, 1), weak_alignment(cosine_matrix(english, other))
        )
    assert report.provenance["steered"].endswith("steered")


def test_block_by_block_centres_every_site_of_the_running_model():
    model, tokenizer = make_model("llama"), make_tokenizer()
    lines = {"deu_Latn": FITTED["deu_Latn"]}
    norms = {}
    for block_by_block in (False, True):
        vector = mean_difference(
            model, tokenizer, lines, SITES, from_others=False, block_by_block=block_by_block, pool="mean"
        )["deu_Latn"]
        with steer(model, vector, strength=-1):
            norms[block_by_block] = [
                states_of(model, lines["deu_Latn"], Reading(Site.parse(site), "value", "mean"))
                .mean(dim=0)
                .norm()
                .item()
                for site in SITES
            ]
    assert max(norms[True]) < 1e-4
    assert norms[False][0] < 1e-4
    assert min(norms[False][1:]) > 0.01


@pytest.mark.parametrize(
    ("subtract", "error", "message"),
    [
        ([1], ArgumentTypeError, "subtract must map languages to vectors"),
        ({"fra_Latn": []}, ArgumentError, "subtract has 'fra_Latn', which is not measured; that is eng_Latn"),
        ({"deu_Latn": [3]}, ArgumentTypeError, r"subtract\['deu_Latn'\] must be a LanguageVector"),
        (
            {"deu_Latn": LanguageVector("deu_Latn", {Site("hidden", 1): torch.ones(32)})},
            ArgumentError,
            r"vectors of 1.hidden:value:weighted, and none of what is read: 0.gate:active:weighted",
        ),
    ],
)
def test_bad_input(subtract, error, message):
    with pytest.raises(error, match=message):
        measure(make_model("llama"), make_tokenizer(), PAIRS, ["nasca"], subtract=subtract)


def test_what_else_is_refused():
    model, tokenizer = make_model("llama"), make_tokenizer()
    with pytest.raises(ArgumentTypeError, match="steered=3 must be a function from a language to a context"):
        measure(model, tokenizer, PAIRS, ["nasca"], steered=3)
    with pytest.raises(ArgumentTypeError, match="must be a function from a language to a context"):
        measure(model, tokenizer, PAIRS, ["nasca"], steered=torch.no_grad())
    active = mean_difference(model, tokenizer, FITTED, "gate", from_others=False, state="active")
    with pytest.raises(ArgumentError, match="means of the state 'active'"), steer(model, active["deu_Latn"]):
        pass
    with pytest.raises(ArgumentError, match="block_by_block=True takes from_others=False"):
        mean_difference(model, tokenizer, FITTED, "hidden", block_by_block=True)
    with pytest.raises(ArgumentError, match="state='x' must be one of value"):
        LanguageVector("x", {Site("hidden", 1): torch.ones(2)}, state="x")
    narrow = LanguageVector("deu_Latn", {Site("gate", 1): torch.ones(3)}, state="active")
    with pytest.raises(ArgumentError, match="has 3 coordinates at 1.gate, which has 80"):
        measure(model, tokenizer, PAIRS, ["nasca"], subtract={"deu_Latn": narrow})


def test_what_is_covered_in_part_is_said():
    model, tokenizer = make_model("llama"), make_tokenizer()
    means = language_means(model, tokenizer, FITTED, ["nasca"])
    with pytest.warns(UserWarning, match="subtract has no vector of 0.hidden:value:weighted, 1.hidden"):
        report = measure(model, tokenizer, PAIRS, ["nasca", "mexa"], subtract=means)
    assert torch.equal(
        report.per_sentence("mexa", "deu_Latn", 1),
        measure(model, tokenizer, PAIRS, ["mexa"]).per_sentence("mexa", "deu_Latn", 1),
    )
    twice = {"deu_Latn": [*means["deu_Latn"], *means["deu_Latn"]]}
    with pytest.raises(
        ArgumentError, match=r"subtract\['deu_Latn'\] has two vectors of 0.gate:active:weighted"
    ):
        measure(model, tokenizer, PAIRS, ["nasca"], subtract=twice)
    with pytest.raises(UnitsError, match="n_layers 3 there, 2 here"):
        measure(make_model("llama", num_hidden_layers=2), tokenizer, PAIRS, ["nasca"], subtract=means)
