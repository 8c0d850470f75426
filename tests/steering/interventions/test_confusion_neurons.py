"""Editing of confusion neurons: equal to editing the weights, its control, and what is refused."""

from copy import deepcopy

import pytest
import torch

from tests.mixtures import make_mixture
from tests.steering.interventions import plain
from tests.steering.interventions.plain import FAMILIES, PROMPTS, model_of, padded
from tests.tiny import FFN, make_model, make_tokenizer
from xalign import UnitSet, find_units, steer
from xalign.errors import ArgumentError, ArgumentTypeError, UnitsError
from xalign.steering import edit_confusion_neurons

EXACT = 1e-5
NEURONS = {0: [4, 9, 60], 2: [31]}
UNITS = UnitSet.from_rows(
    [("eng_Latn", f"{layer}.inner", unit, 1.0, 0.5) for layer, units in NEURONS.items() for unit in units]
)


def columns(model, family, layer):
    """The weight of a down projection, as [unit, width]."""
    weight = plain.module_of(model, family, "inner", layer)[0].weight
    return weight if family == "gpt2" else weight.T


@torch.no_grad()
def with_weights(model, family, change):
    """A copy of a model with other columns: change(layer, columns of the neurons) -> columns."""
    edited = deepcopy(model)
    for layer, units in NEURONS.items():
        view = columns(edited, family, layer)
        view[units] = change(layer, view[units])
    return edited


@pytest.mark.parametrize("family", [*FAMILIES, "gemma2"])
@pytest.mark.parametrize("strength", [1.0, 0.25])
def test_zero_equals_zeroing_columns_of_the_weights(family, strength):
    plain.PARTS.setdefault("gemma2", plain.PARTS["llama"])
    plain.BLOCKS.setdefault("gemma2", plain.BLOCKS["llama"])
    model = model_of(family)
    expected, tokens = plain.generated(
        with_weights(model, family, lambda _, own: (1 - strength) * own), padded(PROMPTS)
    )
    with steer(model, edit_confusion_neurons(model, UNITS), strength=strength):
        logits, new = plain.generated(model, padded(PROMPTS))
    assert torch.allclose(logits, expected, atol=EXACT)
    assert new == tokens
    assert not torch.allclose(logits, plain.generated(model, padded(PROMPTS))[0], atol=1e-3)


@pytest.mark.thorough
@pytest.mark.parametrize("family", [*FAMILIES, "gemma2"])
@pytest.mark.parametrize("strength", [1.0, 0.25])
def test_copy_equals_copying_columns_of_the_weights(family, strength):
    plain.PARTS.setdefault("gemma2", plain.PARTS["llama"])
    plain.BLOCKS.setdefault("gemma2", plain.BLOCKS["llama"])
    model, reference = model_of(family), make_model(family, seed=7)
    before = {name: one.clone() for name, one in model.named_parameters()}

    def change(layer, own):
        return own + strength * (columns(reference, family, layer)[NEURONS[layer]] - own)

    expected, tokens = plain.generated(with_weights(model, family, change), padded(PROMPTS))
    with steer(
        model, edit_confusion_neurons(model, UNITS, mode="copy", reference=reference), strength=strength
    ):
        logits, new = plain.generated(model, padded(PROMPTS))
    assert torch.allclose(logits, expected, atol=EXACT)
    assert new == tokens
    assert not torch.allclose(logits, plain.generated(model, padded(PROMPTS))[0], atol=1e-3)
    assert all(torch.equal(one, before[name]) for name, one in model.named_parameters())


def test_copied_from_itself_nothing_changes():
    model = model_of("llama")
    with torch.no_grad():
        before = model(**padded(PROMPTS)).logits
        with steer(model, edit_confusion_neurons(model, UNITS, mode="copy", reference=deepcopy(model))):
            assert torch.equal(model(**padded(PROMPTS)).logits, before)


def test_positions_are_kept_in_both_modes():
    model, reference = model_of("llama"), make_model("llama", seed=7)
    batch = padded(PROMPTS[:1])
    looks = [("mlp_out", 0)]
    for options in ({}, {"mode": "copy", "reference": reference}):
        what = edit_confusion_neurons(model, UNITS, positions="last_prompt", **options)
        seen = {}
        with torch.no_grad(), steer(model, what) as done:
            handle = model.model.layers[0].mlp.register_forward_hook(
                lambda m, a, out, seen=seen: seen.update(out=out[0])
            )
            model(**batch)
            handle.remove()
        clean = plain.run(model, "llama", batch["input_ids"][0].tolist(), looks=looks)[1]["mlp_out", 0]
        assert done.tokens == 1
        assert torch.allclose(seen["out"][:-1], clean[:-1], atol=EXACT)
        assert not torch.allclose(seen["out"][-1], clean[-1], atol=1e-3)


def test_a_model_with_an_adapter():
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    adapted = get_peft_model(
        model_of("llama"), LoraConfig(target_modules=["down_proj"], r=2, init_lora_weights=False)
    ).eval()
    reference = make_model("llama", seed=7)
    what = edit_confusion_neurons(adapted, UNITS, mode="copy", reference=reference)
    merged = deepcopy(adapted).merge_and_unload()
    expected = with_weights(
        merged, "llama", lambda layer, own: columns(reference, "llama", layer)[NEURONS[layer]]
    )
    with torch.no_grad():
        logits = expected(**padded(PROMPTS)).logits
        with steer(adapted, what):
            assert torch.allclose(adapted(**padded(PROMPTS)).logits, logits, atol=EXACT)


@pytest.mark.parametrize("mode", ["zero", "copy"])
def test_in_bfloat16(mode):
    model, reference = (make_model("llama", seed=seed).to(torch.bfloat16) for seed in (0, 7))
    options = {"reference": reference} if mode == "copy" else {}

    def change(layer, own):
        return columns(reference, "llama", layer)[NEURONS[layer]] if mode == "copy" else 0 * own

    expected, _ = plain.generated(with_weights(model, "llama", change), padded(PROMPTS), new=1)
    with steer(model, edit_confusion_neurons(model, UNITS, mode=mode, **options)):
        logits, _ = plain.generated(model, padded(PROMPTS), new=1)
    assert torch.allclose(logits, expected, atol=0.1)  # of logits of about 2, three blocks in bfloat16


@pytest.mark.parametrize("mode", ["zero", "copy"])
def test_the_control_edits_as_many_other_neurons(mode):
    model = model_of("llama")
    options = {"reference": make_model("llama", seed=7)} if mode == "copy" else {}
    what = edit_confusion_neurons(model, UNITS, mode=mode, **options)
    given, drawn = (
        {s: e for s, e in one.edits().items() if s.kind == "inner"} for one in (what, what.random(1))
    )
    assert list(given) == list(drawn)
    for site, edit in given.items():
        assert len(drawn[site].units) == len(edit.units)
        assert not set(drawn[site].units) & set(edit.units)
    with torch.no_grad():
        before = model(**padded(PROMPTS)).logits
        with steer(model, what.random(1)):
            assert not torch.allclose(model(**padded(PROMPTS)).logits, before)


def test_what_is_refused():
    model = model_of("llama")
    with pytest.raises(ArgumentTypeError, match="units must be a UnitSet, not list"):
        edit_confusion_neurons(model, [3])
    with pytest.raises(ArgumentError, match="units is empty"):
        edit_confusion_neurons(model, UNITS - UNITS)
    with pytest.raises(ArgumentError, match="mode='swap' must be one of zero, copy"):
        edit_confusion_neurons(model, UNITS, mode="swap")
    with pytest.raises(ArgumentError, match="reference= is for mode='copy'"):
        edit_confusion_neurons(model, UNITS, reference=model)
    with pytest.raises(ArgumentError, match="mode='copy' needs reference="):
        edit_confusion_neurons(model, UNITS, mode="copy")
    with pytest.raises(UnitsError, match="n_layers 2 there, 3 here"):
        edit_confusion_neurons(model, UNITS, mode="copy", reference=make_model("llama", num_hidden_layers=2))
    gates = UnitSet.from_rows([("eng_Latn", "1.gate", 3, 1.0, 0.0)])
    with pytest.raises(ArgumentError, match="site 1.gate holds no neurons; give units at inner"):
        edit_confusion_neurons(model, gates)
    outside = UnitSet.from_rows([("eng_Latn", "1.inner", FFN, 1.0, 0.0)])
    with pytest.raises(ArgumentError, match="units \\[80\\] are outside site 1.inner"):
        edit_confusion_neurons(model, outside)
    found = find_units(make_model("gpt2"), make_tokenizer(), plain.TEXTS, share=0.05)
    with pytest.raises(UnitsError, match="do not fit this one"):
        edit_confusion_neurons(model, found)
    with (
        pytest.raises(UnitsError, match="do not fit this one"),
        steer(make_model("gpt2"), edit_confusion_neurons(model, UNITS)),
    ):
        pass


def test_neurons_of_experts_are_silenced_and_not_copied():
    model = make_mixture()
    units = find_units(model, make_tokenizer(), plain.TEXTS, share=0.02)["eng_Latn"]
    with torch.no_grad():
        with steer(model, units, operator="zero"):
            expected = model(**padded(PROMPTS)).logits
        with steer(model, edit_confusion_neurons(model, units)):
            assert torch.equal(model(**padded(PROMPTS)).logits, expected)
    with pytest.raises(ArgumentError, match="expert_inner is not the input of a down projection"):
        edit_confusion_neurons(model, units, mode="copy", reference=make_mixture())
