"""LAPE's scripts, written by hand, beside `find_units(method="lape")`: the same lists, the same logits."""

import math

import numpy as np
import torch

from tests.tiny import FFN, LAYERS, make_model, make_tokenizer
from xalign import Site, UnitSet, find_units, load_pairs, steer

BUNDLED = load_pairs("bundled", ["deu_Latn", "spa_Latn", "zho_Hans"], n=6)
TEXTS = {code: list(bitext.sentences) for code, bitext in BUNDLED.items()}
SHARE = 0.1


def counts():
    """Per neuron and language: at how many tokens silu(gate) is above 0; and the tokens of each language."""
    model, tokenizer = make_model("llama"), make_tokenizer()
    over_zero, tokens = np.zeros((LAYERS, FFN, len(TEXTS))), np.zeros(len(TEXTS))
    for number, sentences in enumerate(TEXTS.values()):
        for text in sentences:
            ids = torch.tensor([tokenizer(text)["input_ids"]])
            tokens[number] += ids.shape[1]
            for layer, active in enumerate(activations(model, ids)):
                over_zero[layer, :, number] += (active[0] > 0).sum(dim=0).numpy()
    return over_zero, tokens


@torch.no_grad()
def activations(model, ids):
    found = []
    handles = [
        block.mlp.act_fn.register_forward_hook(lambda *given: found.append(given[2]))
        for block in model.model.layers
    ]
    model(input_ids=ids)
    for handle in handles:
        handle.remove()
    return found


def identify(over_zero, tokens):
    """Their `neuron[language][layer]`: sorted indices."""
    probability = (over_zero / tokens).reshape(LAYERS * FFN, len(TEXTS))
    ordered = sorted(probability.flatten().tolist())
    bar = ordered[round(0.95 * len(ordered)) - 1]
    entropy = []
    for row in probability.tolist():
        shares = [one / sum(row) for one in row if one] if sum(row) else []
        above = any(one > bar for one in row)
        entropy.append(-sum(one * math.log(one) for one in shares) if above else math.inf)
    chosen = sorted(range(len(entropy)), key=entropy.__getitem__)[: round(SHARE * len(entropy))]
    cut = [entropy[chosen[-1]], *sorted(entropy)[len(chosen) : len(chosen) + 1]]
    # A tie at the cut, or a neuron that no language fires, would be theirs to choose.
    assert cut[1] - cut[0] > 1e-9
    assert math.isfinite(cut[0])
    return [
        [
            sorted(one % FFN for one in chosen if one // FFN == layer and probability[one, number] > bar)
            for layer in range(LAYERS)
        ]
        for number in range(len(TEXTS))
    ]


def test_the_lists_are_those_of_identify():
    expected = identify(*counts())
    units = find_units(make_model("llama"), make_tokenizer(), TEXTS, method="lape", share=SHARE)
    found = [[[] for _ in range(LAYERS)] for _ in TEXTS]
    for unit in units:
        found[list(TEXTS).index(unit.label)][unit.site.layer].append(unit.index)
    assert [[sorted(layer) for layer in language] for language in found] == expected
    assert sum(len(layer) for language in expected for layer in language) > 10


@torch.no_grad()
def test_zero_at_the_gate_is_their_mask():
    """They fill silu(gate) with 0 at the listed neurons, at every token."""
    model, ids = make_model("llama"), torch.tensor([[1, 20, 30, 40]])
    mask = {layer: list(range(layer, FFN, 7)) for layer in range(LAYERS)}
    plain = model(input_ids=ids).logits

    def silence(neurons):
        return lambda module, given, output: output.index_fill(2, torch.tensor(neurons), 0)

    handles = [
        block.mlp.act_fn.register_forward_hook(silence(mask[layer]))
        for layer, block in enumerate(model.model.layers)
    ]
    expected = model(input_ids=ids).logits
    for handle in handles:
        handle.remove()
    rows = [
        ("zho_Hans", Site("gate", layer), index, 0.0, 0.0) for layer, own in mask.items() for index in own
    ]
    with steer(model, UnitSet.from_rows(rows), operator="zero"):
        steered = model(input_ids=ids).logits
    assert (expected - plain).abs().max() > 0.01
    assert torch.allclose(steered, expected, atol=1e-5)
