"""Neurons by activation probability and percentiles: by hand, and values written where they were measured."""

from functools import cache

import numpy as np
import pytest
import torch

from tests.tiny import FFN, LAYERS, make_model, make_tokenizer
from xalign import Site, load_pairs, visit
from xalign.errors import ArgumentError, ArgumentTypeError, ModelError
from xalign.finding.activation_probability import activation_probability
from xalign.finding.token_values import token_values
from xalign.steering.steer import steer

BUNDLED = load_pairs("bundled", n=9)
TEXTS = {code: list(BUNDLED[code].sentences) for code in ("deu_Latn", "zho_Hans")}
TEXTS["zho_Hans"] = TEXTS["zho_Hans"][:6]
BATCH = {"input_ids": torch.tensor([[1, 20, 30], [1, 40, 50]])}


@cache
def gates_by_hand():
    """Per language a list of [token, layer · neuron], one per sentence."""
    model, tokenizer, found = make_model("llama"), make_tokenizer(), {}
    for label, sentences in TEXTS.items():
        found[label] = []
        for text in sentences:
            kept = []
            handles = [
                block.mlp.gate_proj.register_forward_hook(lambda *args, kept=kept: kept.append(args[2][0]))
                for block in model.model.layers
            ]
            with torch.no_grad():
                model(input_ids=torch.tensor([tokenizer(text)["input_ids"]]))
            for handle in handles:
                handle.remove()
            found[label].append(torch.cat(kept, dim=1).double().numpy())
    return found


def statistics_by_hand(statistic, percentile_of, batch_size):
    gates = gates_by_hand()
    everything = np.concatenate([one for own in gates.values() for one in own])
    found = {}
    for label, own in gates.items():
        tokens = np.concatenate(own)
        if statistic == "act_abs_mean":
            found[label] = np.abs(tokens).mean(0)
            continue
        bar = 0.0
        if statistic != "act_prob_zero":
            q = int(statistic[-3:-1])
            batches = [np.concatenate(own[at : at + batch_size]) for at in range(0, len(own), batch_size)]
            bar = np.percentile(everything, q, axis=0)
            if percentile_of == "own":
                bar = np.mean([np.percentile(one, q, axis=0) for one in batches], axis=0)
        found[label] = (tokens > bar).mean(0)
    return found


@pytest.mark.parametrize(
    ("statistic", "percentile_of"),
    [
        ("act_prob_zero", "all"),
        ("act_abs_mean", "all"),
        ("act_prob_90p", "all"),
        ("act_prob_75p", "own"),
        ("act_prob_95p", "own"),
    ],
)
def test_statistics_by_hand(statistic, percentile_of, monkeypatch):
    monkeypatch.setattr("xalign.finding.activation_probability._BATCH", 4)
    expected = statistics_by_hand(statistic, percentile_of, batch_size=4)
    options = {"statistic": statistic, "percentile_of": percentile_of}
    units = activation_probability(make_model("llama"), make_tokenizer(), TEXTS, k=6, **options)
    for label, scores in expected.items():
        best = sorted(scores, reverse=True)[:6]
        assert [row.score for row in units[label]] == pytest.approx(best, abs=0.01)
        for row in units[label]:
            assert row.score == pytest.approx(scores[row.site.layer * FFN + row.index], abs=0.01)
    assert units.provenance["settings"]["statistic"] == statistic


@pytest.mark.parametrize(("fill", "q"), [("p5", 5), ("p90", 90), ("p50", 50)])
def test_fills_are_percentiles_of_the_gate(fill, q):
    gates = gates_by_hand()
    units = activation_probability(make_model("llama"), make_tokenizer(), TEXTS, k=4, fill=fill)
    for row in units:
        values = np.concatenate(gates[row.label])[:, row.site.layer * FFN + row.index]
        assert row.value == pytest.approx(np.percentile(values, q), abs=1e-5)
    assert {row.site.kind for row in units} == {"gate"}


def test_a_share_of_all_neurons_for_each_label():
    model, tokenizer = make_model("llama"), make_tokenizer()
    units = activation_probability(model, tokenizer, TEXTS, share=0.05, fill=-10)
    assert {len(units[label]) for label in TEXTS} == {round(0.05 * LAYERS * FFN)}
    assert set(units.columns.value) == {-10.0}
    mean = activation_probability(model, tokenizer, TEXTS, share=0.05)
    gates = gates_by_hand()
    row = mean["deu_Latn"].rows[0]
    own = np.concatenate(gates["deu_Latn"])[:, row.site.layer * FFN + row.index]
    assert row.value == pytest.approx(own.mean(), abs=1e-5)


def test_values_are_written_where_they_were_measured_or_behind_the_activation():
    """The published code measures before the activation function and writes behind it."""
    model, tokenizer = make_model("llama"), make_tokenizer()
    sound = activation_probability(model, tokenizer, TEXTS, k=3, fill="p75")["deu_Latn"]
    published = activation_probability(model, tokenizer, TEXTS, k=3, fill="p75", compat_mondal=True)[
        "deu_Latn"
    ]
    assert [(row.index, row.value) for row in published] == [(row.index, row.value) for row in sound]
    assert {row.site.kind for row in published} == {"act"}
    for units, activated in ((sound, torch.nn.functional.silu), (published, lambda value: value)):
        row = units.rows[0]
        inner, up = inner_and_up(model, units, row.site.layer)
        expected = activated(torch.tensor(row.value)) * up[..., row.index]
        assert torch.allclose(inner[..., row.index], expected, rtol=1e-5, atol=1e-6)


def inner_and_up(model, units, layer):
    """The neurons of a block while units are set, and what its up projection gives."""
    seen = []
    look = {
        Site("inner", layer): seen.append,
        Site("linear", name=f"model.layers.{layer}.mlp.up_proj"): seen.append,
    }
    with torch.no_grad(), steer(model, units), visit(model, look):
        model(**BATCH)
    up, inner = seen
    return inner, up


def test_tokens_of_equal_sentences_are_counted_each_time():
    model, tokenizer = make_model("llama"), make_tokenizer()
    (once,) = token_values(model, tokenizer, {"x": ["Es regnet.", "Gute Nacht."]}, "1.gate")
    (twice,) = token_values(model, tokenizer, {"x": ["Es regnet.", "Gute Nacht.", "Es regnet."]}, "1.gate")
    first = once.values[once.sentence == 0]
    assert torch.equal(twice.values, torch.cat([once.values, first]))
    assert twice.sentence.tolist() == once.sentence.tolist() + [2] * len(first)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"statistic": "mean"}, ArgumentError, "statistic='mean' must be one of act_prob_zero"),
        ({"fill": "p33"}, ArgumentError, "fill='p33' must be mean, p5"),
        ({"fill": True}, ArgumentTypeError, "fill=True must be mean"),
        ({"fill": float("nan")}, ArgumentError, "fill=nan must be finite"),
        ({"percentile_of": "others"}, ArgumentError, "percentile_of='others' must be all or own"),
        ({"share": 0.1, "k": 3}, ArgumentError, "give one of share, k and threshold"),
        ({"pool": "max"}, ArgumentTypeError, "activation_probability has no option 'pool'"),
    ],
)
def test_bad_input(options, error, message):
    with pytest.raises(error, match=message):
        activation_probability(make_model("llama"), make_tokenizer(), TEXTS, **options)


def test_mixtures_are_told_what_to_do_instead():
    from tests.mixtures import make_mixture

    with pytest.raises((ArgumentError, ModelError), match="experts|gate"):
        activation_probability(make_mixture(), make_tokenizer(), TEXTS, k=3)
    with pytest.raises(ArgumentError, match="are of routed experts"):
        activation_probability(make_mixture(), make_tokenizer(), TEXTS, k=3, experts="routed")
