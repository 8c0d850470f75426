"""Attribution of the next token: one neuron at a time by brute force, and what is summed over texts."""

import pytest
import torch

from tests.tiny import FFN, LAYERS, make_model, make_tokenizer
from xalign import Site, UnitSet, load_pairs
from xalign.errors import ArgumentError, ArgumentTypeError, ModelError
from xalign.finding.attribution import attribution
from xalign.finding.next_token import attribute_next_token

IDS = [1, 20, 30, 44, 57]
SENTENCES = list(load_pairs("bundled", ["deu_Latn"], n=4)["deu_Latn"].sentences)
PROMPTS = {"deu_Latn": SENTENCES[:3]}
# The module of each part, by hand.
PATHS = {
    "llama": ("model.layers", "mlp", "mlp.down_proj", "model.norm"),
    "gpt2": ("transformer.h", "mlp", "mlp.c_proj", "transformer.ln_f"),
}


def parts_by_hand(family, model, ids):
    """Per block the residual stream before the network, and its neurons; and the last state."""
    blocks, network, down, _ = PATHS[family]
    before, inner, last, handles = [], [], [], []
    for block in model.get_submodule(blocks):
        handles.append(
            block.get_submodule(down).register_forward_hook(lambda *a: inner.append(a[1][0][0, -1]))
        )
        handles.append(
            block.get_submodule(network).register_forward_hook(lambda *a: before.append(-a[2][0, -1]))
        )
        handles.append(
            block.register_forward_hook(
                lambda *a: last.append((a[2][0] if isinstance(a[2], tuple) else a[2])[0, -1])
            )
        )
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0, -1]
    for handle in handles:
        handle.remove()
    before = [minus + output for minus, output in zip(before, last, strict=True)]
    return before, inner, last[-1], logits


def score_by_hand(family, model, before, added, last, token):
    """log p(w | r + m v) − log p(w | r) with the variance of the true last state."""
    norm = model.get_submodule(PATHS[family][3])
    centre = (lambda x: x - x.mean()) if family == "gpt2" else (lambda x: x)
    eps = norm.eps if family == "gpt2" else norm.variance_epsilon
    deviation = (centre(last.double()).square().mean() + eps).sqrt()

    def log_p(state):
        normed = centre(state.double()) / deviation * norm.weight.double()
        normed = normed + (norm.bias.double() if family == "gpt2" else 0)
        return (model.lm_head.weight.double() @ normed).log_softmax(dim=0)[token]

    return (log_p(before.double() + added.double()) - log_p(before)).item()


@pytest.mark.parametrize("family", PATHS)
@pytest.mark.parametrize("target", [None, 77])
def test_one_neuron_by_brute_force(family, target):
    model = make_model(family)
    before, inner, last, logits = parts_by_hand(family, model, IDS)
    found = attribute_next_token(model, IDS, target)
    token = int(logits.argmax()) if target is None else target
    assert found.token == token
    assert found.log_probability == pytest.approx(logits.double().log_softmax(0)[token].item(), abs=1e-5)
    scores = []
    for layer in range(LAYERS):
        weight = model.get_submodule(f"{PATHS[family][0]}.{layer}.{PATHS[family][2]}").weight.detach()
        columns = weight.T if family == "llama" else weight
        assert torch.allclose(found.coefficients[Site("inner", layer)].float(), inner[layer], atol=1e-5)
        for neuron in range(0, FFN, 11):
            expected = score_by_hand(
                family, model, before[layer], inner[layer][neuron] * columns[neuron], last, token
            )
            scores.append(expected)
            # Float32 in the model; scores go up to about 0.3.
            assert found.scores[Site("inner", layer)][neuron].item() == pytest.approx(expected, abs=1e-5)
    assert max(map(abs, scores)) > 0.005


def test_scores_do_not_depend_on_the_chunks(monkeypatch):
    whole = attribute_next_token(make_model("llama"), IDS).scores
    monkeypatch.setattr("xalign.finding.next_token._CHUNK_BYTES", 9000)
    parts = attribute_next_token(make_model("llama"), IDS).scores
    assert all(torch.allclose(parts[site], whole[site], atol=1e-6) for site in whole)


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("gemma2", {}, "a norm or a factor stands behind it"),
        ("olmo2", {}, "a norm or a factor stands behind it"),
        ("bert", {}, "BertModel predicts no tokens"),
        ("qwen3_moe", {}, "is a mixture of experts"),
    ],
)
def test_models_that_it_is_not_for(family, changes, message):
    with pytest.raises(ModelError, match=message):
        attribute_next_token(make_model(family, **changes), IDS)


@pytest.mark.parametrize(
    ("model_type", "message"),
    [
        ("cohere", "capped or scaled"),
        ("t5", "has an encoder; give a causal language model"),
    ],
)
def test_architectures_that_it_is_not_for(model_type, message):
    from tests.architectures.zoo import zoo

    specimen = next(one for one in zoo() if one.model_type == model_type)
    with pytest.raises(ModelError, match=message):
        attribute_next_token(specimen.build()[0], [5, 6, 7])


def test_what_is_added_times_a_factor_is_refused():
    from transformers import GraniteConfig, GraniteForCausalLM

    from tests.tiny import SIZES

    scaled = GraniteForCausalLM(GraniteConfig(**SIZES, residual_multiplier=0.5)).eval()
    with pytest.raises(ModelError, match="what block 0 of granite adds is multiplied by 0.5 first"):
        attribute_next_token(scaled, IDS)


@pytest.mark.parametrize("ids", [[], [[1, 2]], [0.5], torch.tensor([True])])
def test_ids_that_are_none(ids):
    with pytest.raises(ArgumentError, match="must be the token ids of one text"):
        attribute_next_token(make_model("llama"), ids)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision(dtype):
    """Numbers of bfloat16 have 8 bits; scores go up to .4."""
    whole, half = (
        attribute_next_token(make_model("llama").to(one), IDS, 77).scores for one in (torch.float32, dtype)
    )
    for site, scores in whole.items():
        assert (half[site] - scores).abs().max() < 0.05
        assert torch.corrcoef(torch.stack([half[site], scores]))[0, 1] > 0.99


def test_logits_that_are_more_than_the_head_are_refused():
    model = make_model("llama")
    model.lm_head.register_forward_hook(lambda module, args, output: torch.tanh(output / 2) * 2)
    model.forward, plain = (lambda **inputs: _scaled(plain(**inputs))), model.forward
    with pytest.raises(ModelError, match="capped or scaled"):
        attribute_next_token(model, IDS)


def _scaled(output):
    output.logits = output.logits * 3
    return output


def summed_by_hand(model, prompts, keep, sign=1.0):
    """Per neuron the sum of its scores over the prompts that keep it, how many do, and its mean value."""
    total, times, values = (torch.zeros(LAYERS * FFN, dtype=torch.float64) for _ in range(3))
    for ids in prompts:
        found = attribute_next_token(model, ids)
        scores = torch.cat(list(found.scores.values()))
        for neuron in sorted(range(len(scores)), key=lambda one: -scores[one].item())[:keep]:
            total[neuron] += scores[neuron]
            times[neuron] += 1
            values[neuron] += torch.cat(list(found.coefficients.values()))[neuron]
    return total, times, values / times.clamp(min=1)


def prompts_of(texts, tokenizer=None):
    return [make_tokenizer()(text)["input_ids"] for text in texts]


@pytest.mark.parametrize("rank_by", ["score", "frequency"])
def test_what_is_summed_over_texts(rank_by):
    model = make_model("llama")
    total, times, values = summed_by_hand(model, prompts_of(PROMPTS["deu_Latn"]), keep=20)
    units = attribution(model, make_tokenizer(), PROMPTS, keep=20, k=9, rank_by=rank_by)
    expected = total if rank_by == "score" else times
    assert [row.score for row in units] == pytest.approx(
        sorted(expected.tolist(), reverse=True)[:9], abs=1e-9
    )
    for row in units:
        at = row.site.layer * FFN + row.index
        assert row.score == pytest.approx(expected[at].item(), abs=1e-9)
        assert row.value == pytest.approx(values[at].item(), abs=1e-9)
    assert units.provenance["settings"]["keep"] == 20


def test_what_the_reference_scores_is_subtracted():
    """Where the reference does not keep a neuron, its score stands as it is."""
    model, reference, prompts = (
        make_model("llama"),
        make_model("llama", seed=1),
        prompts_of(PROMPTS["deu_Latn"]),
    )
    total, times, _ = summed_by_hand(model, prompts, keep=30)
    theirs, their_times, _ = summed_by_hand(reference, prompts, keep=30)
    units = attribution(model, make_tokenizer(), PROMPTS, keep=30, k=240, reference=reference)
    assert 0 < len(units) == int((times > 0).sum()) < LAYERS * FFN
    both = ((times > 0) & (their_times > 0)).sum()
    assert 0 < both < len(units)
    for row in units:
        at = row.site.layer * FFN + row.index
        assert row.score == pytest.approx((total - theirs)[at].item(), abs=1e-9)


def test_any_place_and_token_of_a_text():
    model, tokenizer = make_model("llama"), make_tokenizer()
    ids = prompts_of(SENTENCES[:1])[0]
    place = {"at": {"x": [4]}, "targets": {"x": [77]}}
    units = attribution(model, tokenizer, {"x": SENTENCES[:1]}, k=1, **place)
    found = attribute_next_token(model, ids[:5], 77)
    assert units.rows[0].score == pytest.approx(
        max(one.max().item() for one in found.scores.values()), abs=1e-9
    )
    back = attribution(
        model, tokenizer, {"x": SENTENCES[:1]}, k=1, at={"x": [5 - len(ids) - 1]}, targets={"x": [77]}
    )
    assert back.rows == units.rows
    last = attribution(model, tokenizer, {"x": SENTENCES[:1]}, k=1)
    assert last.rows == attribution(model, tokenizer, {"x": SENTENCES[:1]}, k=1, at={"x": [-1]}).rows
    assert last.rows != units.rows


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"rank_by": "size"}, ArgumentError, "rank_by='size' must be one of score, frequency"),
        ({"at": {"x": [0]}}, ArgumentError, "must map the labels of texts, deu_Latn"),
        ({"at": {"deu_Latn": [0]}}, ArgumentError, r"at\['deu_Latn'\] must have a number per text, 3 in all"),
        (
            {"at": {"deu_Latn": [500, 0, 0]}},
            ArgumentError,
            r"at\['deu_Latn'\]\[0\]=500 is no token of this text",
        ),
        ({"at": {"deu_Latn": [-500, 0, 0]}}, ArgumentError, "is no token of this text"),
        ({"targets": {"deu_Latn": [1.5, 0, 0]}}, ArgumentTypeError, "must be a whole number"),
        ({"targets": {"deu_Latn": [10**6, 0, 0]}}, ArgumentError, "target=1000000 .* 500"),
        ({"keep": 0}, ArgumentError, "keep=0 must be at least 1"),
        ({"pool": "max"}, ArgumentTypeError, "attribution has no option 'pool'"),
        ({"reference": "other"}, ArgumentTypeError, "reference must be a model, not str"),
        (
            {"reference": make_model("llama", num_hidden_layers=2)},
            ArgumentError,
            "reference must have the shape of the model",
        ),
    ],
)
def test_bad_input(options, error, message):
    with pytest.raises(error, match=message):
        attribution(make_model("llama"), make_tokenizer(), PROMPTS, **options)


def test_the_units_are_a_set_that_steers():
    units = attribution(make_model("llama"), make_tokenizer(), PROMPTS, k=3)
    assert isinstance(units, UnitSet) and {row.site.kind for row in units} == {"inner"}
