"""Every family: what `visit` gives is what the family's own weights give."""

import pytest
import torch
import torch.nn.functional as F

from tests.model.oracle import ORACLES, neurons
from tests.quick import one_each
from tests.tiny import FAMILIES, LAYERS, make_model, make_tokenizer
from tests.versions.require import require
from xalign import Site, map_model, measure
from xalign.metrics.cosine import cosine_matrix
from xalign.metrics.weak_alignment import weak_alignment
from xalign.model.architectures.sites import Reading
from xalign.model.architectures.table import LAYOUTS
from xalign.model.batches import make_batches
from xalign.model.encode import encode
from xalign.model.inputs import pad_id_of
from xalign.model.read import read_states
from xalign.model.visit import visit
from xalign.pairs.load import load_pairs

RELATIVE = 1e-5
KINDS = ("hidden", "gate", "inner", "attn_out", "mlp_out")


def relative(a, b):
    return ((a - b).norm() / b.norm()).item()


def look(model, **batch):
    """Every site of every kind in one forward, and the hidden states that Hugging Face returns."""
    seen = {}
    sites = [site for kind in KINDS for site in map_model(model).sites(kind)]
    with (
        torch.no_grad(),
        visit(model, {site: lambda x, site=site: seen.__setitem__(site, x) for site in sites}),
    ):
        output = model(**batch, output_hidden_states=True)
    return seen, output.hidden_states


@pytest.fixture(scope="module")
def batch():
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(4, 400, (3, 11), generator=generator)
    mask = torch.ones_like(ids)
    ids[1, 7:], mask[1, 7:] = 0, 0
    return {"input_ids": ids, "attention_mask": mask}


def test_every_layout_is_tested():
    assert set(LAYOUTS) == set(FAMILIES) == set(ORACLES)


@pytest.mark.parametrize("family", FAMILIES)
def test_neurons_are_what_the_weights_give(family, batch):
    model = make_model(family)
    seen, _ = look(model, **batch)
    real = batch["attention_mask"].bool()
    for layer, (gate, inner, out) in enumerate(neurons(family, model, **batch)):
        assert gate[real].std() > 0.05  # a dead network would agree with anything
        assert relative(seen[Site("gate", layer)][real], gate[real]) < RELATIVE
        assert relative(seen[Site("inner", layer)][real], inner[real]) < RELATIVE
        down = model.get_submodule(map_model(model).place(Site("inner", layer)).path)
        width = seen[Site("inner", layer)].shape[-1]
        assert width == map_model(model).ffn_width == map_model(model).place(Site("gate", layer)).width
        with torch.no_grad():
            assert relative(down(seen[Site("inner", layer)])[real], out[real]) < RELATIVE


@pytest.mark.parametrize("family", FAMILIES)
def test_stream_equation(family, batch):
    model = make_model(family)
    seen, _ = look(model, **batch)
    oracle, blocks = ORACLES[family], ORACLES[family].blocks(model)
    before = seen[Site("hidden", "embed")]
    for layer in range(LAYERS):
        attention, feed_forward = seen[Site("attn_out", layer)], seen[Site("mlp_out", layer)]
        assert attention.norm() > 0.01 * before.norm()  # each part matters, or dropping one would go unseen
        assert feed_forward.norm() > 0.01 * before.norm()
        with torch.no_grad():
            expected = oracle.stream(blocks[layer], before, attention, feed_forward)
        assert relative(seen[Site("hidden", layer)], expected) < RELATIVE
        before = seen[Site("hidden", layer)]


@pytest.mark.parametrize("family", FAMILIES)
def test_hidden_states_are_those_of_hugging_face(family, batch):
    if family == "modernbert":
        require("its ModernBERT gives the last hidden state without the final norm", transformers="5.0")
    model = make_model(family)
    seen, hidden_states = look(model, **batch)
    assert len(hidden_states) == LAYERS + 1
    assert torch.equal(seen[Site("hidden", "embed")], hidden_states[0])
    for layer in range(LAYERS - 1):
        assert torch.equal(seen[Site("hidden", layer)], hidden_states[layer + 1])
    assert torch.equal(seen[Site("hidden", "final")], hidden_states[LAYERS])


def test_opt_with_the_norm_after_and_a_projection(batch):
    """The shape of opt-350m: post-norm, no final norm, and a projection in front of the head."""
    model = make_model("opt", do_layer_norm_before=False, word_embed_proj_dim=16)
    seen, hidden_states = look(model, **batch)
    h = seen[Site("hidden", "embed")]
    for layer, block in enumerate(model.model.decoder.layers):
        with torch.no_grad():
            middle = block.self_attn_layer_norm(h + seen[Site("attn_out", layer)])
            expected = block.final_layer_norm(middle + seen[Site("mlp_out", layer)])
        h = seen[Site("hidden", layer)]
        assert relative(h, expected) < RELATIVE
    assert map_model(model).place(Site("hidden", "final")).width == 16
    assert torch.equal(seen[Site("hidden", "final")], hidden_states[-1])


def test_bloom_with_the_residual_after_the_norm(batch):
    model = make_model("bloom", apply_residual_connection_post_layernorm=True)
    seen, _ = look(model, **batch)
    h = seen[Site("hidden", "embed")]
    for layer, block in enumerate(model.transformer.h):
        with torch.no_grad():
            middle = block.input_layernorm(h) + seen[Site("attn_out", layer)]
            expected = block.post_attention_layernorm(middle) + seen[Site("mlp_out", layer)]
        h = seen[Site("hidden", layer)]
        assert relative(h, expected) < RELATIVE


def brute_force_states(family, model, tokenizer, sentences):
    """(NAS, NAV) per layer, one sentence a forward, in float64; and the weight of activations near 0."""
    nas, nav, near = ([[] for _ in range(LAYERS)] for _ in range(3))
    for sentence in sentences:
        ids = torch.tensor([tokenizer(sentence, padding=False, truncation=False)["input_ids"]])
        weights = torch.tensor([t / sum(range(1, ids.shape[1] + 1)) for t in range(1, ids.shape[1] + 1)])
        for layer, (gate, inner, _) in enumerate(neurons(family, model, ids)):
            nas[layer].append(weights.double() @ (gate[0] > 0).double())
            nav[layer].append(weights.double() @ inner[0].double().abs())
            near[layer].append(weights.double() @ (gate[0].abs() <= 1e-5).double())
    return [[torch.stack(rows) for rows in kind] for kind in (nas, nav, near)]


def brute_force_bits(pivot, other):
    """Weak-alignment bits with two loops and a definition."""
    n = len(pivot)
    cosine = [[F.cosine_similarity(pivot[i], other[j], dim=0).item() for j in range(n)] for i in range(n)]
    rivals = lambda i: [cosine[i][j] for j in range(n) if j != i] + [cosine[j][i] for j in range(n) if j != i]  # noqa: E731
    return torch.tensor([all(cosine[i][i] > rival for rival in rivals(i)) for i in range(n)])


@pytest.mark.parametrize(("family", "padding_side"), one_each(FAMILIES, ("right", "left")))
def test_scores_against_brute_force(family, padding_side):
    """Batches of 16 and a tokenizer that pads on either side, against one sentence a forward."""
    model, tokenizer = make_model(family), make_tokenizer(padding_side)
    pairs = load_pairs("bundled", ["deu_Latn"], n=16)
    bitext = pairs["deu_Latn"]
    report = measure(model, tokenizer, pairs, ["nasca", "navca"])
    pivot = brute_force_states(family, model, tokenizer, bitext.pivot_sentences)
    other = brute_force_states(family, model, tokenizer, bitext.sentences)
    encoded = encode(tokenizer, bitext.sentences)
    batches = make_batches(encoded.lines, token_budget=10_000, pad_id=pad_id_of(tokenizer))
    assert len(batches) == 1  # all sixteen are padded together
    nas_readings = [Reading(site, "active") for site in map_model(model).sites("gate")]
    nav_readings = [Reading(site, "abs") for site in map_model(model).sites("inner")]
    states = read_states(model, batches, nas_readings + nav_readings)
    flips = 0
    for layer in range(LAYERS):
        assert relative(states[nav_readings[layer]].double(), other[1][layer]) < RELATIVE
        # A state may flip only where the activation is within 1e-5 of 0, by no more than those tokens weigh.
        difference = (states[nas_readings[layer]].double() - other[0][layer]).abs()
        flips += int((difference > 1e-6).sum())
        assert (difference <= other[2][layer] + 1e-6).all()
        for metric, kind, readings in (("nasca", 0, nas_readings), ("navca", 1, nav_readings)):
            bits = report.per_sentence(metric, "deu_Latn", layer)
            slow = brute_force_bits(pivot[kind][layer], other[kind][layer])
            assert (bits != slow).sum() <= 1
            # Given equal states, equal to the bit.
            same = read_states(
                model,
                make_batches(encode(tokenizer, bitext.pivot_sentences).lines, token_budget=10_000, pad_id=0),
                [readings[layer]],
            )[readings[layer]]
            fast = weak_alignment(cosine_matrix(same, states[readings[layer]]))
            assert torch.equal(fast, brute_force_bits(same.double(), states[readings[layer]].double()))
    assert flips <= 2  # counted: none, on every machine tried


@pytest.mark.parametrize("family", FAMILIES)
def test_batch_of_one_against_sixteen(family):
    model, tokenizer = make_model(family), make_tokenizer()
    sentences = load_pairs("bundled", ["rus_Cyrl"], n=16)["rus_Cyrl"].sentences
    readings = [
        Reading(site, "value", pool)
        for pool in ("weighted", "last")
        for site in map_model(model).sites("hidden")
    ]
    encoded = encode(tokenizer, sentences)
    one, many = (
        read_states(model, make_batches(encoded.lines, token_budget=budget, pad_id=0), readings)
        for budget in (1, 10_000)
    )
    for reading in readings:
        assert relative(many[reading], one[reading]) < RELATIVE
