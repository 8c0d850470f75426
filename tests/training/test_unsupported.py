"""Models that others have wrapped: refused, or trained and left without a trace."""

import numpy as np
import pytest
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel

from tests.tiny import make_model
from tests.training.runs import gradients_of, relative_difference
from tests.training.test_objective import make_objective
from xalign import Site, visit
from xalign.errors import ModelError
from xalign.training.layers import parse_layers


def test_data_parallel_is_refused():
    objective = make_objective()
    with pytest.raises(ModelError, match="start a process per GPU with torchrun"):
        make_objective(nn.DataParallel(objective.model))


def test_fsdp1_is_refused():
    model = make_model("llama")
    sharded = FullyShardedDataParallel.__new__(FullyShardedDataParallel)
    nn.Module.__init__(sharded)
    sharded._modules["_fsdp_wrapped_module"] = nn.Linear(2, 2)
    model.add_module("sharded", sharded)
    with pytest.raises(ModelError, match="FSDP1 is not supported; FSDP2 is: pass fsdp_version=2"):
        make_objective(model)


def test_zero_3_is_refused():
    model = make_model("llama")
    model.lm_head.weight.ds_id = 0
    with pytest.raises(ModelError, match="ZeRO-3 is not supported; use ZeRO-1 or 2"):
        make_objective(model)


@pytest.mark.parametrize("pool", ["mean", "last", "max"])
def test_prompt_tuning_trains_its_prompt(pool):
    config = PromptTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM")
    model = get_peft_model(make_model("llama"), config)
    make_objective(model, pool=pool)(0).backward()
    trained = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert list(trained) == ["prompt_encoder.default.embedding.weight"]
    assert all(grad.norm() > 0 for grad in trained.values())


def test_an_adapter_that_hooks_its_forward_runs_whole():
    config = LoraConfig(r=4, target_modules=["q_proj"], task_type="CAUSAL_LM", alora_invocation_tokens=[5, 6])
    model = get_peft_model(make_model("llama"), config)

    def hooks():
        return sum(len(m._forward_pre_hooks) + len(m._forward_hooks) for m in model.modules())

    before = hooks()
    with pytest.warns(UserWarning, match="aLoRA adapters must finish what they begin"):
        objective = make_objective(model, layer=0)
    objective(0).backward()
    assert hooks() == before


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing_enable.*is deprecated")
@pytest.mark.parametrize("checkpointed", [False, True])
def test_an_outer_visit_survives_a_forward_that_is_left(checkpointed):
    """A writer around the whole step, as steering is: the pairs' forward must not leave its door open."""

    def step(objective, around):
        objective.model.zero_grad()
        objective.model.train()
        site = Site("inner", 0)
        if around:
            with visit(objective.model, {site: lambda states: states * 1.0}):
                objective(0).backward()
        else:
            objective(0).backward()
        return gradients_of(objective.model)

    objective = make_objective()
    if checkpointed:
        objective.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    assert relative_difference(step(objective, True), step(objective, False)) < 1e-6


def test_numpy_numbers_name_layers():
    assert parse_layers(np.int64(1)) == {1: 1.0}
    assert parse_layers([np.int32(1), np.int64(2)]) == {1: 1.0, 2: 1.0}
    assert parse_layers({np.float32(0.5): np.float64(2)}) == {0.5: 2.0}
    assert make_objective(layer=np.int64(2)).layers == {2: 1.0}
