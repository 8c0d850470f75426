"""Steering on a CUDA device: exactly the units chosen, in `generate` with its cache, and no trace after."""

import pytest
import torch

from tests.tiny import make_model, make_tokenizer
from xalign import LanguageVector, Site, UnitSet, steer
from xalign.model.visit import visit

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]

CHOSEN, VALUES = [3, 17, 42], [1.5, -2.0, 0.25]
UNITS = UnitSet.from_rows(
    [("deu_Latn", "1.inner", at, 0.9, value) for at, value in zip(CHOSEN, VALUES, strict=True)]
)


def prompts(device):
    tokenizer = make_tokenizer(padding_side="left")
    return tokenizer(["It rains.", "Nobody told us that."], padding=True, return_tensors="pt").to(device)


def neurons(model, batch):
    """The neurons of the second block, as a later module sees them."""
    seen = []
    with visit(model, {Site("inner", 1): lambda values: seen.append(values.clone())}):
        model(**batch)
    return seen[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_exactly_the_chosen_units_change(dtype, device):
    model, batch = make_model("llama").to(device, dtype), prompts(device)
    batch = {name: batch[name] for name in ("input_ids", "attention_mask")}
    real = batch["attention_mask"].bool()
    with torch.no_grad():
        before = neurons(model, batch)
        plain = model(**batch).logits
        with steer(model, UNITS) as done:
            after = neurons(model, batch)
            steered = model(**batch).logits
        again = model(**batch).logits
    assert done.tokens == 2 * int(real.sum())
    others = [unit for unit in range(before.shape[-1]) if unit not in CHOSEN]
    assert torch.equal(after[..., others], before[..., others])
    expected = torch.tensor(VALUES, device=device, dtype=dtype).expand(int(real.sum()), 3)
    assert torch.equal(after[real][:, CHOSEN], expected)
    assert torch.equal(after[~real], before[~real])  # padding is never changed
    assert not torch.equal(steered[real], plain[real])
    assert torch.equal(again, plain)


@pytest.mark.parametrize("positions", ["all", "prompt", "generated", "last_prompt"])
def test_generation_with_a_cache_is_that_without(positions, device):
    model, batch = make_model("llama").to(device), prompts(device)
    batch = {name: batch[name] for name in ("input_ids", "attention_mask")}
    vector = LanguageVector("deu_Latn", {Site("hidden", 1): torch.linspace(-1, 1, 32)})
    how = {"max_new_tokens": 12, "min_new_tokens": 12, "do_sample": False, "pad_token_id": 0}
    how |= {"output_logits": True, "return_dict_in_generate": True}
    plain = model.generate(**batch, **how)
    with steer(model, vector, strength=4.0, positions=positions):
        cached = model.generate(**batch, **how)
    with steer(model, vector, strength=4.0, positions=positions):
        whole = model.generate(**batch, **how, use_cache=False)
    gap = (torch.stack(cached.logits) - torch.stack(whole.logits)).abs().max()
    assert torch.equal(cached.sequences, whole.sequences)
    assert gap < 1e-3
    assert not torch.equal(torch.stack(cached.logits), torch.stack(plain.logits))
    after = model.generate(**batch, **how)
    assert torch.equal(torch.stack(after.logits), torch.stack(plain.logits))


def test_weights_and_hooks_are_as_before(device):
    model = make_model("llama").to(device)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with steer(model, UNITS, operator="zero"):
        model(**{name: value for name, value in prompts(device).items() if name != "token_type_ids"})
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
