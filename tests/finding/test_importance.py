"""Activation × gradient: by hand from torch's own hooks, and which units and sites are chosen."""

from functools import cache

import pytest
import torch

from tests.mixtures import make_mixture
from tests.tiny import FFN, LAYERS, make_model, make_tokenizer
from xalign import Site, load_pairs
from xalign.errors import ArgumentError, ArgumentTypeError, ModelError
from xalign.finding.activation_gradient import activation_gradient
from xalign.finding.importance import importance

BUNDLED = load_pairs("bundled", n=5)
TEXTS = {code: list(BUNDLED[code].sentences) for code in ("deu_Latn", "spa_Latn", "zho_Hans")}
TEXTS["deu_Latn"].append(TEXTS["deu_Latn"][0])  # twice in one label


@cache
def importance_by_hand():
    """Per label and unit the mean over the tokens that predict one of |a · ∂L/∂a|, and of a, text by text."""
    model, tokenizer, found, means = make_model("llama"), make_tokenizer(), [], []
    for sentences in TEXTS.values():
        products, values, count = torch.zeros(LAYERS * FFN), torch.zeros(LAYERS * FFN), 0
        for text in sentences:
            kept = []

            def keep(module, args, kept=kept):
                args[0].retain_grad()
                kept.append(args[0])

            handles = [block.mlp.down_proj.register_forward_pre_hook(keep) for block in model.model.layers]
            ids = torch.tensor([tokenizer(text)["input_ids"]])
            loss = model(input_ids=ids, labels=ids).loss * (ids.shape[1] - 1)
            loss.backward()
            for handle in handles:
                handle.remove()
            products += torch.cat([(one * one.grad).abs()[0, :-1].sum(0) for one in kept]).detach()
            values += torch.cat([one[0, :-1].sum(0) for one in kept]).detach()
            count += ids.shape[1] - 1
        found.append(products / count)
        means.append(values / count)
    return torch.stack(found).double(), torch.stack(means).double()


@pytest.mark.parametrize("token_budget", [60, 8192])
def test_importance_by_hand(token_budget):
    model = make_model("llama")
    found = importance(model, make_tokenizer(), TEXTS, token_budget=token_budget)
    expected, means = importance_by_hand()
    assert found.labels == tuple(TEXTS) and list(found.widths.values()) == [FFN] * LAYERS
    assert expected.max() > 0.01
    assert torch.allclose(found.all_values, expected, rtol=1e-3, atol=1e-6)
    assert torch.allclose(found.all_means, means, rtol=1e-3, atol=1e-6)
    assert all(one.grad is None and one.requires_grad for one in model.parameters())


def test_it_is_the_change_of_the_loss_to_first_order():
    """Scale one neuron by 1 − ε at one token: the loss changes by ε a ∂L/∂a there."""
    model = make_model("llama").double()
    found = importance(model, make_tokenizer(), {"x": ["Es regnet."]}, "1.inner")
    ids = torch.tensor([make_tokenizer()("Es regnet.")["input_ids"]])
    changes = []
    for token in range(ids.shape[1] - 1):
        losses = []
        for epsilon in (-0.02, 0.02):

            def scale(module, args, token=token, epsilon=epsilon):
                new = args[0].clone()
                new[0, token, 7] *= 1 - epsilon
                return (new,)

            handle = model.model.layers[1].mlp.down_proj.register_forward_pre_hook(scale)
            with torch.no_grad():
                logits = model(input_ids=ids).logits[0, :-1]
                losses.append(torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum").item())
            handle.remove()
        changes.append(abs(losses[1] - losses[0]) / 0.04)
    assert found.values[Site("inner", 1)][0, 7].item() == pytest.approx(sum(changes) / len(changes), rel=5e-3)


def test_frozen_weights_and_modes_do_not_matter():
    model = make_model("llama").train()
    for one in model.parameters():
        one.requires_grad = False
    with torch.no_grad():
        found = importance(model, make_tokenizer(), TEXTS)
    assert torch.allclose(found.all_values, importance_by_hand()[0], rtol=1e-3, atol=1e-6)
    assert model.training and not any(one.requires_grad for one in model.parameters())
    at_embed = importance(model, make_tokenizer(), TEXTS, ["embed.hidden", "0.hidden"])
    assert all(values.min() > 0 for values in at_embed.values.values())


def test_specific_units_have_the_largest_part():
    expected, means = importance_by_hand()
    part = expected / expected.sum(0)
    units = activation_gradient(make_model("llama"), make_tokenizer(), TEXTS, k=5)
    for number, label in enumerate(TEXTS):
        own = part[number].masked_fill(part.argmax(0) != number, -1)
        assert [row.score for row in units[label]] == pytest.approx(
            own.sort().values.flip(0)[:5].tolist(), abs=1e-3
        )
        for row in units[label]:
            assert row.value == pytest.approx(
                means[number, row.site.layer * FFN + row.index].item(), abs=1e-4
            )
    all_of_them = activation_gradient(make_model("llama"), make_tokenizer(), TEXTS, share=1.0)
    assert len(all_of_them) == LAYERS * FFN  # each has one label
    bar = float(part.amax(0).median())
    above = activation_gradient(make_model("llama"), make_tokenizer(), TEXTS, share=1.0, least_part=bar)
    assert len(above) == pytest.approx(LAYERS * FFN / 2, abs=3) and min(above.columns.score) >= bar


def test_agnostic_units_are_important_for_all_alike():
    expected, _ = importance_by_hand()
    units = activation_gradient(make_model("llama"), make_tokenizer(), TEXTS, k=6, select="agnostic")
    ratio = expected.mean(0) / expected.std(0, correction=0)
    ratio[expected.mean(0) < expected.mean(0).median()] = -1
    best = set(ratio.sort(descending=True).indices[:6].tolist())
    for label in TEXTS:
        assert {row.site.layer * FFN + row.index for row in units[label]} == best
    assert units["deu_Latn"].places == units["spa_Latn"].places


def test_important_sites_differ_most_between_languages():
    found = importance(make_model("llama"), make_tokenizer(), TEXTS)
    sums = importance_by_hand()[0].reshape(3, LAYERS, FFN).sum(-1)
    order = sums.var(0, correction=0).sort(descending=True).indices.tolist()
    assert [site.layer for site in found.important_sites(LAYERS)] == order
    assert torch.allclose(found.by_site[Site("inner", 1)], sums[:, 1], rtol=1e-3)
    chosen = activation_gradient(make_model("llama"), make_tokenizer(), TEXTS, found.important_sites(1), k=2)
    assert {row.site.layer for row in chosen} == {order[0]}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"select": "both"}, ArgumentError, "select='both' must be one of specific, agnostic"),
        ({"least_part": 2}, ArgumentError, "least_part=2 must be at most 1"),
        ({"least_part": 0.5, "select": "agnostic"}, ArgumentError, "is for select='specific'"),
        ({"least_part": 1.0}, ArgumentError, "no unit is specific for deu_Latn"),
        ({"pool": "max"}, ArgumentTypeError, "importance has no option 'pool'"),
    ],
)
def test_bad_input(options, error, message):
    with pytest.raises(error, match=message):
        activation_gradient(make_model("llama"), make_tokenizer(), TEXTS, **options)


def test_models_that_it_is_not_for():
    with pytest.raises(ModelError, match="BertModel predicts no tokens"):
        importance(make_model("bert"), make_tokenizer(), TEXTS)
    with pytest.raises(ModelError, match=r"are of routed experts|has none"):
        importance(make_mixture(), make_tokenizer(), TEXTS, "expert_inner")
    with pytest.raises(ArgumentError, match=r"texts has 1 label\(s\)"):
        activation_gradient(make_model("llama"), make_tokenizer(), {"x": ["Es regnet."]})
