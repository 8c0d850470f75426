"""Unsloth's fused networks: the forward of the class runs while something looks, and only then."""

import pytest
import torch

from tests.integrations.unsloth_like import apply_lora_mlp_swiglu, lora_model, patch
from tests.monitor.training import make_trainer, result_of
from tests.tiny import make_tokenizer
from xalign import AlignmentCallback, Site, load_pairs, map_model, measure, visit
from xalign.model import class_forwards
from xalign.model.capture import capture

METRICS = ("nasca", "navca", "mexa")


@pytest.fixture(scope="module")
def pairs():
    return load_pairs("bundled", ["deu_Latn"], n=20)


@pytest.fixture
def patches():
    """Patches that a test may take back, while others of its own stay."""
    with pytest.MonkeyPatch.context() as own:
        yield own


@pytest.fixture
def fused(patches):
    return patch(lora_model(), patches)


def forwards_of(model):
    return [layer.mlp.forward for layer in model.model.model.layers]


def batch():
    return make_tokenizer()(["Ein Satz.", "Noch ein längerer Satz."], padding=True, return_tensors="pt")


def is_patched(model):
    return all(forward.__func__ is apply_lora_mlp_swiglu for forward in forwards_of(model))


def test_the_emulation_bypasses_what_unsloth_bypasses(fused, patches):
    """It computes what the model computes, and calls no projection of a network, and no norm."""
    inputs, called = batch(), []
    handles = [
        module.register_forward_hook(lambda module, *_: called.append(module))
        for module in fused.modules()
        if type(module).__name__ in ("LlamaRMSNorm", "Linear") and module is not fused.model.lm_head
    ]
    ours = fused(**inputs).logits
    assert not called
    for handle in handles:
        handle.remove()
    patches.undo()
    real = inputs["attention_mask"].bool()
    torch.testing.assert_close(ours[real], lora_model()(**inputs).logits[real])


def test_it_measures_what_the_model_without_patches_would_give(fused, pairs, patches):
    report = measure(fused, make_tokenizer(), pairs, METRICS)
    assert is_patched(fused)
    patches.undo()
    plain = measure(lora_model(), make_tokenizer(), pairs, METRICS)
    assert report.to_rows() == plain.to_rows()
    assert len({row["value"] for row in plain.to_rows()}) > 2


def test_without_the_forward_of_the_class_nothing_would_be_seen(fused, pairs, monkeypatch):
    monkeypatch.setattr(class_forwards, "_LIBRARIES", frozenset())
    with pytest.raises(Exception, match=r"gate|did not fire"):
        measure(fused, make_tokenizer(), pairs, ["nasca"])


def test_looking_changing_and_capturing(fused):
    inputs, seen = batch(), []
    before = fused(**inputs).logits
    with visit(fused, {Site("inner", 1): lambda neurons: seen.append(neurons.shape)}):
        fused(**inputs)
        assert forwards_of(fused)[1].__func__ is not apply_lora_mlp_swiglu  # the one that is looked at, alone
        assert forwards_of(fused)[0].__func__ is apply_lora_mlp_swiglu
    assert [shape[-1] for shape in seen] == [map_model(fused).place(Site("inner", 1)).width]
    assert is_patched(fused)
    with visit(fused, {Site("inner", 1): torch.zeros_like}):
        assert not torch.equal(fused(**inputs).logits, before)
    assert torch.equal(fused(**inputs).logits, before) and is_patched(fused)
    with capture(fused, [Site("gate", 2)]) as states:
        loss = fused(**inputs).logits.square().mean()
    (gradient,) = torch.autograd.grad(loss, states[Site("gate", 2)])
    assert gradient.abs().sum() > 0 and is_patched(fused)


def test_forwards_come_back_after_an_error(fused):
    def fail(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), visit(fused, {Site("gate", 0): fail}):
        fused(**batch())
    assert is_patched(fused)


@pytest.mark.parametrize("forward", [torch.nn.Linear(1, 1).forward, lambda states: states, None, 3])
def test_forwards_of_others_are_left_alone(forward):
    """Wrappers of accelerate and of trainers call the forward of the class themselves."""
    assert not class_forwards.is_fused(forward)


@pytest.mark.thorough
def test_training_is_the_same_to_the_bit_with_and_without_the_callback(fused, pairs, patches):
    def train(callbacks):
        patches.undo()
        trainer = make_trainer(
            evaluate=False, model=patch(lora_model(), patches).train(), callbacks=callbacks, max_steps=20
        )
        trainer.train()
        assert is_patched(trainer.model)
        return trainer

    callback = AlignmentCallback(pairs, every=10)
    without, with_it = result_of(train(None)), result_of(train([callback]))
    assert [report.step for report in callback.reports] == [0, 10, 20]
    assert without.rows == with_it.rows and len(without.rows) > 20
    assert all(torch.equal(without.weights[name], with_it.weights[name]) for name in without.weights)
    assert len({row["loss"] for row in without.rows if "loss" in row}) == 20
