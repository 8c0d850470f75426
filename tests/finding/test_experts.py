"""The finders on a mixture of experts: every neuron of every expert, 0 for tokens not routed there."""

import pytest
import torch

from tests.mixtures import EXPERT_WIDTH, EXPERTS, by_hand, experts_of, make_mixture
from tests.tiny import FFN, LAYERS, make_tokenizer
from xalign import Site, find_units, load_pairs, map_model
from xalign.errors import ArgumentError
from xalign.finding import language_means, mean_difference
from xalign.finding.activations import activations
from xalign.finding.detectors import stored
from xalign.finding.expert_ap import expert_ap
from xalign.finding.language_neurons import language_neurons

TEXTS = {code: list(load_pairs("bundled", n=5)[code].sentences) for code in ("deu_Latn", "rus_Cyrl")}
MIXTURES = (1, 2)
NEURONS = FFN + len(MIXTURES) * EXPERTS * EXPERT_WIDTH


def from_weights(model, layer, gate=False):
    """The neurons of a block's experts from the weights: per sentence a tensor [token, expert, neuron]."""
    experts, tokenizer, found = experts_of(model, layer), make_tokenizer(), []
    for text in (text for sentences in TEXTS.values() for text in sentences):
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        seen = torch.zeros(ids.shape[1], EXPERTS, EXPERT_WIDTH)
        kept = []
        handle = experts.register_forward_pre_hook(lambda _, args, kept=kept: kept.append(args))
        with torch.no_grad():
            model(ids)
        handle.remove()
        states, index, weights = kept[0]

        def note(token, expert, inner, seen=seen, states=states):
            projected = experts.gate_up_proj[expert, :EXPERT_WIDTH] @ states[token]
            seen[token, expert] = projected if gate else inner
            return inner

        with torch.no_grad():
            by_hand(experts, note)(states, index, weights)
        found.append(seen)
    return found


def test_activations_are_those_of_the_weights():
    model = make_mixture()
    sites = [one.site for one in activations(model, make_tokenizer(), TEXTS)]
    assert sites == [Site("inner", 0), Site("expert_inner", 1), Site("expert_inner", 2)]
    (found,) = activations(model, make_tokenizer(), TEXTS, "1.expert_inner")
    expected = torch.stack([tokens.mean(dim=0).flatten() for tokens in from_weights(model, 1)])
    assert (expected == 0).any() and (expected != 0).any()  # some experts were not met
    assert (found.values - expected).abs().max() < 1e-5


def test_expert_units_of_experts():
    model, everything = make_mixture(), EXPERTS * EXPERT_WIDTH
    units = expert_ap(model, make_tokenizer(), TEXTS, "1.expert_inner", k=everything)
    values = torch.stack([tokens.mean(dim=0).flatten() for tokens in from_weights(model, 1)])
    german = units["deu_Latn"].columns
    own = values[: len(TEXTS["deu_Latn"])].quantile(0.5, dim=0)
    assert len(german) == everything
    assert (torch.tensor(german.value) - own[torch.tensor(german.index)]).abs().max() < 1e-5
    shares = find_units(model, make_tokenizer(), TEXTS, share=0.25)
    assert {label: len(shares[label]) for label in TEXTS} == dict.fromkeys(TEXTS, round(0.25 * NEURONS))


def test_language_neurons_of_experts():
    """A neuron fires at a token that was routed to its expert, and at no other."""
    model = make_mixture()
    units = language_neurons(model, make_tokenizer(), TEXTS, share=0.5, bar=0.2)
    assert {site.kind for site in units.columns.sites} == {"gate", "expert_gate"}
    gates = from_weights(model, 1, gate=True)
    n = len(TEXTS["deu_Latn"])
    means = torch.cat(gates[:n]).mean(dim=0).flatten()
    rows = [row for row in units["deu_Latn"] if row.site == Site("expert_gate", 1)]
    assert rows
    for row in rows:
        assert row.value == pytest.approx(means[row.index].item(), abs=1e-5)
        assert (torch.cat(gates[:n]).flatten(1)[:, row.index] > 0).any()


def test_vectors_of_experts():
    model = make_mixture()
    found = mean_difference(model, make_tokenizer(), TEXTS, "inner", from_others=False, pool="mean")
    expected = torch.stack([tokens.mean(dim=0).flatten() for tokens in from_weights(model, 2)])
    assert list(map(str, found["rus_Cyrl"].vectors)) == ["0.inner", "1.expert_inner", "2.expert_inner"]
    vector = found["rus_Cyrl"].vectors[Site("expert_inner", 2)]
    assert (vector - expected[len(TEXTS["deu_Latn"]) :].mean(dim=0)).abs().max() < 1e-5
    means = language_means(model, make_tokenizer(), TEXTS, ["nasca"])["deu_Latn"]
    assert Site("expert_gate", 1) in means[0].vectors


def test_shared_experts_are_ordinary_networks():
    model = make_mixture("qwen2_moe")
    assert len(map_model(model).sites("inner")) == LAYERS
    options = {"k": 3, "experts": "shared"}
    shared = find_units(model, make_tokenizer(), TEXTS, **options)
    assert {site.kind for site in shared.columns.sites} == {"inner"}
    assert shared.provenance["settings"]["experts"] == "shared"
    routed = [one.site for one in activations(model, make_tokenizer(), TEXTS)]
    assert [str(site) for site in routed] == ["0.inner", "1.expert_inner", "2.expert_inner"]
    with pytest.raises(ArgumentError, match="experts='both' must be one of routed, shared"):
        find_units(model, make_tokenizer(), TEXTS, experts="both")


@pytest.mark.parametrize("value", ["mean", "median", "p90"])
def test_values_of_very_many_units_are_taken_in_parts(value, monkeypatch):
    """torch.quantile refuses more than 16 million numbers, which 200 sentences at a site of experts have."""
    values, is_low = torch.randn(7, 50), torch.arange(50) % 2 == 0
    whole = stored(values, is_low, value)
    monkeypatch.setattr("xalign.finding.detectors._AT_ONCE", 20)
    assert torch.equal(stored(values, is_low, value), whole)
