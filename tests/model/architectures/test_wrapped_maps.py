"""The sites of a model stay where they are when it is wrapped, patched, quantised or offloaded."""

import copy
import functools
import re

import pytest
import torch
from peft import IA3Config, LoraConfig, get_peft_model
from torch import nn
from transformers import LlamaModel

from tests.tiny import make_model
from xalign import map_model
from xalign.model.architectures import proved
from xalign.model.architectures.from_proof import stack_of_proof
from xalign.model.architectures.proved import proved_stacks

KINDS = ("hidden", "gate", "inner", "attn_out", "mlp_out")
WRAPPERS = r"base_model\.model\.|_orig_mod\.|module\."


class Quantised(nn.Module):
    """What a 4-bit Linear of bitsandbytes looks like: packed weights, and the widths of a Linear."""

    def __init__(self, linear):
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight = nn.Parameter(torch.zeros(4, 1, dtype=torch.uint8), requires_grad=False)
        self.hidden_from_torch = [linear]

    def forward(self, x):
        return nn.functional.linear(x, *(one.data for one in self.hidden_from_torch[0].parameters()))


def lora(model, **options):
    model = get_peft_model(model, LoraConfig(target_modules="all-linear", r=2, **options))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter)
    return model


def merged(model):
    model = lora(model)
    model.merge_adapter()
    return model


def two_adapters(model):
    model = lora(model)
    model.add_adapter("other", LoraConfig(target_modules="all-linear", r=3))
    return model


def scaled(model):
    down = {"llama": "down_proj", "bert": "dense", "phi3": "down_proj"}[model.config.model_type]
    return get_peft_model(model, IA3Config(target_modules=[down], feedforward_modules=[down]))


def quantised(model):
    for path, module in list(model.named_modules()):
        if type(module) is nn.Linear and "layer" in path:
            owner, _, name = path.rpartition(".")
            setattr(model.get_submodule(owner), name, Quantised(module))
    return model


def offloaded(model):
    from accelerate import cpu_offload

    return cpu_offload(model, torch.device("cpu"))


def checkpointed(model):
    model.gradient_checkpointing_enable()
    return model.train()


WRAPPED = {
    "LoRA": lora,
    "DoRA": lambda model: lora(model, use_dora=True),
    "merged": merged,
    "two adapters": two_adapters,
    "IA3": scaled,
    "4 bit": quantised,
    "compiled": lambda model: torch.compile(model, backend="eager"),
    "checkpointed": checkpointed,
    "offloaded": offloaded,
    "bfloat16": lambda model: model.to(torch.bfloat16),
}


def places(model):
    """The paths of all sites, as they are proved, without the wrappers' names."""
    (proved,) = proved_stacks(model)
    stack = stack_of_proof(model, proved, "")
    assert not [block.refused for block in stack.blocks if block.refused]
    return [
        (kind, re.sub(WRAPPERS, "", place.path), place.side, place.width, place.columns)
        for block in stack.blocks
        for kind in KINDS
        for place in block.places[kind]
    ]


def hooks_of(model):
    return [hook for one in model.modules() for hook in (*one._forward_hooks, *one._forward_pre_hooks)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", ["llama", "phi3", "bert"])
@pytest.mark.parametrize("name", WRAPPED)
def test_a_wrapped_model_keeps_its_sites(name, family):
    model = make_model(family)
    expected = places(model)
    assert len(expected) == 15
    wrapped = WRAPPED[name](copy.deepcopy(model))
    hooks = hooks_of(wrapped)
    before = {key: value.clone() for key, value in wrapped.state_dict().items() if not value.is_meta}
    assert places(wrapped) == expected
    after = wrapped.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert hooks_of(wrapped) == hooks


def test_a_disabled_adapter_keeps_the_sites():
    model = lora(make_model("llama"))
    expected = places(model)
    with model.disable_adapter():
        assert places(model) == expected


def test_mapping_changes_nothing_and_runs_once(monkeypatch):
    """It draws no random number, leaves the modes, and does not run a model again that did not change."""
    runs = []
    models = [make_model("llama").train() for _ in range(2)]
    forward = LlamaModel.forward

    @functools.wraps(forward)
    def counted(self, *args, **kwargs):
        runs.append(self)
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(LlamaModel, "forward", counted)
    monkeypatch.setattr(proved, "_COMMON", {})
    state = torch.get_rng_state()
    for model in models:
        proved_stacks(model)
        proved_stacks(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for model in models for module in model.modules())
    assert runs == [models[0].model] * 2


def test_another_setting_is_another_kind():
    """A kept map is not taken for a model whose modules are the same and whose forward is not."""
    from tests.model.architectures.homemade import computing

    gelu = computing(lambda m, x: m.second(nn.functional.gelu(m.first(x))))
    swapped = computing(lambda m, x: m.second(nn.functional.gelu(m.third(x))))
    paths = [map_model(model).sites("gate") and map_model(model).layout.gate for model in (gelu, swapped)]
    assert paths == ["feed_forward.first", "feed_forward.third"]
