"""Wrappers of a model: what is inside them, alone and around one another."""

import pytest
import torch
import torch.distributed as dist
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from tests.tiny import make_model
from xalign.model.wrapped import (
    adapter_disabled,
    base_model_of,
    config_of,
    entry_points,
    has_adapter,
    is_compiled,
    is_ddp,
    registers_hooks_in_forward,
    uncompiled,
    unwrapped,
)

BATCH = {"input_ids": torch.arange(4, 14).reshape(2, 5)}


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    """A process group of this process alone, which DDP needs."""
    store = tmp_path_factory.mktemp("group") / "store"
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def lora(model, **options):
    return get_peft_model(model, LoraConfig(target_modules="all-linear", init_lora_weights=False, **options))


def compiled(model):
    return torch.compile(model, backend="eager")


WRAPPERS = {"lora": lora, "compile": compiled, "ddp": DistributedDataParallel, "parallel": nn.DataParallel}
ORDERS = [
    *[(), ("lora",), ("compile",), ("ddp",), ("parallel",), ("lora", "compile"), ("compile", "lora")],
    *[("lora", "ddp"), ("compile", "ddp"), ("ddp", "compile"), ("lora", "compile", "ddp")],
    *[("lora", "ddp", "compile"), ("compile", "ddp", "compile")],
]


def wrap(model, order):
    for name in order:
        model = WRAPPERS[name](model)
    return model


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_what_is_inside(order, one_process):
    base = make_model("llama")
    model = wrap(base, order)
    assert (model is base) == (not order)
    assert base_model_of(model) is base
    assert config_of(model) is base.config
    assert is_compiled(model) == ("compile" in order[-2:])
    assert is_ddp(model) == (order[-1:] == ("ddp",))
    inner = unwrapped(model)
    assert not isinstance(inner, DistributedDataParallel)
    assert "_orig_mod" not in inner._modules
    assert has_adapter(inner) == ("lora" in order)  # its adapters are kept
    assert not registers_hooks_in_forward(model)


def test_only_the_outer_compiling_is_taken_off():
    base = make_model("llama")
    model = lora(base)
    assert uncompiled(compiled(model)) is model
    assert uncompiled(model) is model
    assert uncompiled(base) is base


def test_where_a_forward_may_enter():
    base = make_model("llama")
    model = lora(base)
    assert entry_points(base) == [base]
    assert entry_points(compiled(base)) == [base]
    assert entry_points(model) == [model, base]
    assert entry_points(compiled(model)) == [model, base]
    assert entry_points(outer := lora(compiled(other := make_model("llama")))) == [outer, other]


def test_what_has_no_config():
    assert config_of(nn.Linear(2, 2)) is None
    assert base_model_of(model := nn.Linear(2, 2)) is model


def test_an_adapter_is_disabled_and_trainable_as_before():
    base = make_model("llama")
    with torch.no_grad():
        without = base(**BATCH).logits
        model = lora(base)
        frozen = [name for name, _ in model.named_parameters() if "lora_A" in name]
        for name, parameter in model.named_parameters():
            if name in frozen:
                parameter.requires_grad_(False)
        trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        assert trainable
        assert frozen
        adapted = model(**BATCH).logits
        assert not torch.allclose(adapted, without)
        with pytest.raises(ZeroDivisionError), adapter_disabled(model):
            assert torch.equal(model(**BATCH).logits, without)
            raise ZeroDivisionError
        assert torch.equal(model(**BATCH).logits, adapted)
    assert {name for name, parameter in model.named_parameters() if parameter.requires_grad} == trainable


def test_adapters_that_register_hooks():
    model = lora(make_model("llama"), task_type="CAUSAL_LM", alora_invocation_tokens=[4, 5])
    assert registers_hooks_in_forward(model)
    assert registers_hooks_in_forward(compiled(model))
