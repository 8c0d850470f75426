"""Transplants: what is read, where it is written, identity, the published alias, and what is refused."""

import pytest
import torch

from tests.steering.interventions import plain
from tests.steering.interventions.plain import FAMILIES, PROMPTS, SOURCES, at, ids_of, model_of, padded
from tests.tiny import LAYERS, make_model, make_tokenizer
from xalign import steer
from xalign.errors import ArgumentError, ModelError, UnitsError
from xalign.model.architectures.sites import Site
from xalign.steering import transplant

EXACT = 1e-5  # of logits of about 1, in float32; a batch and a single prompt differ in rounding
SUB_LAYERS = ("attn_out", "mlp_out")


def written(model, family, source, sub_layer, layer, compat_alias=False):
    """What is written for one source prompt, read by plain hooks."""
    _, seen = plain.run(model, family, ids_of(source), looks=[(sub_layer, layer), ("input", layer)])
    value = seen[sub_layer, layer][-1]
    return value + seen["input", layer][-1] if compat_alias else value


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("sub_layer", SUB_LAYERS)
def test_the_same_prompt_and_block_leave_the_logits_equal_to_the_bit(family, sub_layer):
    model, prompt = model_of(family), PROMPTS[0]
    batch = padded([prompt])
    before, tokens = plain.generated(model, batch)
    for layer in range(LAYERS):
        same = {"source_layer": layer, "target_layer": layer, "sub_layer": sub_layer}
        with steer(model, transplant(model, make_tokenizer(), [prompt], **same)):
            after, new = plain.generated(model, batch)
        assert torch.equal(after, before)
        assert new == tokens
    other = transplant(model, make_tokenizer(), [SOURCES[0]], sub_layer=sub_layer)
    with steer(model, other):  # it can change something
        assert not torch.allclose(plain.generated(model, batch)[0], before, atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_published_alias_is_not_the_identity(family):
    model, prompt, layer = model_of(family), PROMPTS[0], 1
    batch = padded([prompt])
    before, _ = plain.generated(model, batch)
    same = {"source_layer": layer, "target_layer": layer, "sub_layer": "attn_out"}
    with steer(model, transplant(model, make_tokenizer(), [prompt], compat_alias=True, **same)):
        after, tokens = plain.generated(model, batch)
    assert not torch.allclose(after, before, atol=1e-2)
    # Stored is attn_out + x, and the block adds its x again.
    value = written(model, family, prompt, "attn_out", layer, compat_alias=True)
    last = len(ids_of(prompt)) - 1
    edits = {("attn_out", layer): at(last, lambda own: value)}
    expected = plain.continued(model, family, ids_of(prompt), tokens[0], edits)
    assert torch.allclose(after[0], expected, atol=EXACT)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("sub_layer", SUB_LAYERS)
def test_it_is_written_at_the_last_token_of_each_prompt_alone(family, sub_layer):
    """Batched, padded, with a cache; against single sequences without any of these."""
    model, source, target = model_of(family), 2, 1
    what = transplant(
        model, make_tokenizer(), SOURCES, sub_layer=sub_layer, source_layer=source, target_layer=target
    )
    assert what.positions == "last_prompt"
    with steer(model, what, trace=True) as done:
        logits, tokens = plain.generated(model, padded(PROMPTS))
    assert done.tokens == 2
    assert all(one.forward == 0 for one in done.trace)
    for row, (prompt, source_prompt) in enumerate(zip(PROMPTS, SOURCES, strict=True)):
        ids = ids_of(prompt)
        value = written(model, family, source_prompt, sub_layer, source)
        edits = {(sub_layer, target): at(len(ids) - 1, lambda own, value=value: value)}
        expected = plain.continued(model, family, ids, tokens[row], edits)
        assert torch.allclose(logits[row], expected, atol=EXACT)


def test_at_the_last_block_the_next_token_depends_on_the_stream_and_what_is_written():
    """§4.4: logits = head(norm(r of the target + mlp of the source))."""
    model, layer = model_of("llama"), LAYERS - 1
    what = transplant(model, make_tokenizer(), [SOURCES[0]], source_layer=layer, target_layer=layer)
    with torch.no_grad(), steer(model, what):
        logits = model(**padded([PROMPTS[0]])).logits[0, -1]
    _, seen = plain.run(model, "llama", ids_of(PROMPTS[0]), looks=[("output", layer), ("mlp_out", layer)])
    stream = seen["output", layer][-1] - seen["mlp_out", layer][-1]
    value = written(model, "llama", SOURCES[0], "mlp_out", layer)
    with torch.no_grad():
        expected = model.lm_head(model.model.norm((stream + value).view(1, 1, -1)))[0, 0]
    assert torch.allclose(logits, expected, atol=EXACT)


def test_the_blocks_of_the_coarse_setting_are_the_default():
    what = transplant(model_of("llama"), make_tokenizer(), [SOURCES[0]])
    assert list(what.edits()) == [Site("mlp_out", 0)]
    assert what.provenance["settings"]["source_layer"] == LAYERS - 1


def test_one_source_is_for_every_row():
    model = model_of("llama")
    one = transplant(model, make_tokenizer(), [SOURCES[0]])
    both = transplant(model, make_tokenizer(), [SOURCES[0]] * 2)
    with steer(model, one):
        logits, _ = plain.generated(model, padded(PROMPTS))
    with steer(model, both):
        assert torch.equal(plain.generated(model, padded(PROMPTS))[0], logits)


def test_beams_of_a_prompt_get_its_source():
    model = model_of("llama")
    options = {"num_beams": 3, "max_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
    found = []
    for prompts, sources in (
        (PROMPTS, SOURCES),
        *(([p], [s]) for p, s in zip(PROMPTS, SOURCES, strict=True)),
    ):
        batch = padded(prompts)
        with steer(model, transplant(model, make_tokenizer(), sources)):
            new = model.generate(**batch, **options)[:, batch["input_ids"].shape[1] :].tolist()
        found.append(new)
    assert found[0] == [found[1][0], found[2][0]]
    batch = padded(PROMPTS)
    plain_beams = model.generate(**batch, **options)[:, batch["input_ids"].shape[1] :].tolist()
    assert found[0] != plain_beams


@pytest.mark.parametrize("sources", [SOURCES, SOURCES[:1]], ids=["each its own", "one for all"])
def test_a_strength_mixes_both(sources):
    model, strength = model_of("llama"), 0.25
    what = transplant(model, make_tokenizer(), sources, source_layer=2, target_layer=1)
    with torch.no_grad(), steer(model, what, strength=strength):
        logits = model(**padded(PROMPTS, "right")).logits
    for row, prompt in enumerate(PROMPTS):
        ids, value = ids_of(prompt), written(model, "llama", sources[row % len(sources)], "mlp_out", 2)
        change = at(len(ids) - 1, lambda own, value=value: 0.75 * own + 0.25 * value)
        expected, _ = plain.run(model, "llama", ids, {("mlp_out", 1): change})
        assert torch.allclose(logits[row, : len(ids)], expected, atol=EXACT)


@pytest.mark.parametrize("family", FAMILIES)
def test_in_bfloat16_the_identity_is_exact_too(family):
    model = make_model(family).to(torch.bfloat16)
    batch = padded([PROMPTS[0]])
    before, _ = plain.generated(model, batch)
    with steer(model, transplant(model, make_tokenizer(), [PROMPTS[0]], source_layer=1, target_layer=1)):
        after, _ = plain.generated(model, batch)
    assert torch.equal(after, before)


def test_token_ids_are_taken_as_they_are():
    model = model_of("llama")
    by_text = transplant(model, make_tokenizer(), SOURCES).edits()[Site("mlp_out", 0)]
    by_ids = transplant(model, make_tokenizer(), [ids_of(one) for one in SOURCES]).edits()[Site("mlp_out", 0)]
    assert torch.equal(by_text.value, by_ids.value)


def test_the_control_has_the_same_lengths():
    what = transplant(model_of("llama"), make_tokenizer(), SOURCES)
    rows, drawn = (one.edits()[Site("mlp_out", 0)].value for one in (what, what.random(3)))
    assert torch.allclose(drawn.norm(dim=1), rows.norm(dim=1), rtol=1e-5)
    assert (torch.cosine_similarity(drawn, rows).abs() < 0.7).all()
    again = what.random(3).edits()[Site("mlp_out", 0)].value
    assert torch.equal(again, drawn)
    assert not torch.equal(what.random(4).edits()[Site("mlp_out", 0)].value, drawn)


def test_what_is_refused():
    model, tokenizer = model_of("llama"), make_tokenizer()
    with pytest.raises(ArgumentError, match="sub_layer='hidden' must be one of attn_out, mlp_out"):
        transplant(model, tokenizer, SOURCES, sub_layer="hidden")
    with pytest.raises(ArgumentError, match="the published code changes the stored output"):
        transplant(model, tokenizer, SOURCES, compat_alias=True)
    with pytest.raises(ModelError, match="site 7.mlp_out: llama has blocks 0 to 2"):
        transplant(model, tokenizer, SOURCES, source_layer=7)
    with pytest.raises(ModelError, match="site 3.mlp_out: llama has blocks 0 to 2"):
        transplant(model, tokenizer, SOURCES, target_layer=3)
    with pytest.raises(ArgumentError, match="source_layer=-1 must be at least 0"):
        transplant(model, tokenizer, SOURCES, source_layer=-1)
    with pytest.raises(ArgumentError, match="prompts is empty"):
        transplant(model, tokenizer, [])
    with pytest.raises(ArgumentError, match="holds token 9999"):
        transplant(model, tokenizer, [[1, 9999]])
    what = transplant(model, tokenizer, SOURCES)
    with (
        pytest.raises(ArgumentError, match="vectors of 2 sentences, and the forward has 1"),
        steer(model, what),
    ):
        model(**padded(PROMPTS[:1]))
    with (
        pytest.raises(UnitsError, match="model_type llama there, qwen3 here"),
        steer(make_model("qwen3"), what),
    ):
        pass
