"""The experts of a mixture: read and written, whatever runs them."""

import copy
import threading
from functools import cache
from importlib import import_module

import pytest
import torch
from torch import nn

from tests.architectures.expert_checks import (
    IMPLEMENTATIONS,
    KINDS,
    check_exception,
    check_reading,
    check_writing,
    given_to,
    outcome,
    shadows,
)
from tests.architectures.zoo import zoo
from tests.tiny import enable_checkpointing
from tests.versions.require import require
from xalign import Site, map_model, visit
from xalign.errors import ModelError
from xalign.model.architectures.sites import POOLS, Reading
from xalign.model.batches import Batch
from xalign.model.capture import capture
from xalign.model.pool import pool, token_weights
from xalign.model.pool_experts import pool_experts
from xalign.model.read import read_states
from xalign.model.routed import Routed

require("it does not say how its experts are run", transformers="5.14")
moe = import_module("transformers.integrations.moe")

FAMILIES = ("qwen3_moe", "mixtral", "gpt_oss", "deepseek_v3", "olmoe")
TOLERANCE = 1e-5


@cache
def built(model_type):
    return next(one for one in zoo() if one.model_type == model_type).build()


@pytest.fixture
def mixture(request):
    """A tiny model, its inputs, and the first block with experts. Its implementation is put back."""
    model, inputs = built(getattr(request, "param", "qwen3_moe"))
    before = model.get_experts_implementation()
    yield model, inputs, map_model(model).sites("expert_inner")[0].layer
    model.set_experts_implementation(before)


def experts_of(model, layer):
    return map_model(model).place(Site("expert_inner", layer)).module


@pytest.fixture
def registered():
    """Registers an implementation for a test."""
    names = []

    def register(name, fn):
        names.append(name)
        moe.ExpertsInterface.register(name, fn)

    yield register
    for name in names:
        moe.ALL_EXPERTS_FUNCTIONS._global_mapping.pop(name)


@pytest.mark.thorough
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("mixture", FAMILIES, indirect=True)
def test_reading_shows_what_the_weights_say_and_changes_nothing(mixture, implementation):
    model, inputs, layer = mixture
    model.set_experts_implementation(implementation)
    module = experts_of(model, layer)
    found = check_reading(model, inputs, module, [Site(kind, layer) for kind in KINDS])
    assert found.pop("bit_equal") and found.pop("restored") and found.pop("experts")
    assert max(found.values()) < TOLERANCE, found
    assert model.get_experts_implementation() == implementation or isinstance(
        model.get_experts_implementation(), dict
    )


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("mixture", FAMILIES, indirect=True)
def test_writing_one_neuron_of_one_expert_does_what_the_weights_predict(mixture, implementation):
    model, inputs, layer = mixture
    model.set_experts_implementation(implementation)
    module, site = experts_of(model, layer), Site("expert_inner", layer)
    found = check_writing(model, inputs, module, site)
    assert found["changed"] and found["after"] and found["write"] < TOLERANCE
    assert check_exception(model, inputs, site)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_a_changed_gate_and_router_reach_the_output(mixture, implementation):
    model, inputs, layer = mixture
    model.set_experts_implementation(implementation)
    module = experts_of(model, layer)
    with torch.no_grad(), given_to(module) as given:
        outcome(model, inputs)
    halved = Site("router", layer), Site("expert_gate", layer)
    with (
        torch.no_grad(),
        visit(model, {halved[0]: lambda routed: routed.values / 2}),
        given_to(module) as found,
    ):
        outcome(model, inputs)
    torch.testing.assert_close(found["output"], given["output"] / 2)
    seen = {}
    fns = {
        halved[1]: lambda routed: routed.values * 0,
        Site("expert_inner", layer): lambda routed: seen.update(inner=routed.values),
    }
    with torch.no_grad(), visit(model, fns), given_to(module) as found:
        outcome(model, inputs)
    assert not seen["inner"].any() and not found["output"].any()  # silu(0) · up


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_visits_nest_in_the_order_of_entering(mixture, implementation):
    model, inputs, layer = mixture
    model.set_experts_implementation(implementation)
    for kind in KINDS:
        seen, site = {}, Site(kind, layer)
        with torch.no_grad(), visit(model, {site: lambda routed: seen.update(plain=routed.values.clone())}):  # noqa: B023
            outcome(model, inputs)
        with (
            torch.no_grad(),
            visit(model, {site: lambda routed: routed.values * 2}),
            visit(model, {site: lambda routed: seen.update(inner=routed.values.clone())}),  # noqa: B023
        ):
            outcome(model, inputs)
        assert torch.equal(seen["inner"], seen["plain"] * 2), kind


def test_other_threads_see_no_visit(mixture):
    model, inputs, layer = mixture
    expected, found, calls = outcome(model, inputs), [], []

    def look(routed):
        calls.append(threading.get_ident())
        if len(calls) == 1:  # while the experts run here, another thread runs them too
            other = threading.Thread(target=lambda: found.append(outcome(model, inputs)))
            other.start()
            other.join()
        return routed.values * 0

    with torch.no_grad(), visit(model, {Site("expert_inner", layer): look}):
        changed = outcome(model, inputs)
    assert len(calls) == 1 and torch.equal(found[0], expected) and not torch.equal(changed, expected)
    assert shadows(model) == shadows(copy.deepcopy(model))


def test_an_early_exit_and_a_forward_of_the_users_own_are_put_back(mixture):
    model, inputs, layer = mixture
    module = experts_of(model, layer)
    own = module.forward
    module.forward = lambda *args, **kwargs: own(*args, **kwargs)
    try:
        before = shadows(model)
        seen = []
        with torch.no_grad(), visit(model, {Site("expert_inner", layer): seen.append}, early_exit=True):
            outcome(model, inputs)
            raise AssertionError("not left")
        assert len(seen) == 1 and before == shadows(model)
    finally:
        del module.forward


def loss_gradients(model, inputs, fns):
    model.zero_grad()
    with visit(model, fns):
        model(**inputs, use_cache=False).logits.float().square().mean().backward()
    return {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_gradients_are_those_of_the_model(mixture, implementation, checkpointing):
    if checkpointing:
        require("it cannot turn the checkpointing of mixtures off", transformers="5.23")
    model, inputs, layer = mixture
    model.set_experts_implementation(implementation)
    site = Site("expert_inner", layer)
    plain = loss_gradients(model, inputs, {})
    double = loss_gradients(model, inputs, {site: lambda routed: routed.values * 2})
    if checkpointing:
        enable_checkpointing(model)
        model.train()  # these models have no dropout
    try:
        calls = []
        looked = loss_gradients(model, inputs, {Site(kind, layer): calls.append for kind in KINDS})
        same = loss_gradients(model, inputs, {site: lambda routed: routed.values})
        again = loss_gradients(model, inputs, {site: lambda routed: routed.values * 2})
    finally:
        if checkpointing:
            model.activation_checkpointing_disable()
        model.eval()
        model.zero_grad()
    assert len(calls) == len(KINDS)
    for name, gradient in plain.items():
        assert torch.equal(looked[name], gradient), name
        torch.testing.assert_close(same[name], gradient, msg=name)
        torch.testing.assert_close(again[name], double[name], msg=name)
    assert any(not torch.allclose(double[name], plain[name]) for name in plain)


def test_a_captured_tensor_lies_on_the_models_path(mixture):
    require("it cannot turn the checkpointing of mixtures off", transformers="5.23")
    model, inputs, layer = mixture
    site = Site("expert_inner", layer)
    with capture(model, [site]) as states:
        output = model(**inputs, use_cache=False).logits
    routed = states[site]
    gradient = torch.autograd.grad(output.square().mean(), routed.values)[0]
    assert gradient.shape == routed.values.shape and gradient.abs().sum() > 0


def test_an_own_implementation_is_proved(mixture, registered):
    """Nothing says in which order it computes; the equations do."""
    model, inputs, layer = mixture
    for name, fn in (
        ("own_sorted", moe.grouped_mm_experts_forward),
        ("own_token", moe.batched_mm_experts_forward),
    ):
        registered(name, lambda *args, fn=fn, **kwargs: fn(*args, **kwargs))
        model.set_experts_implementation(name)
        found = check_reading(model, inputs, experts_of(model, layer), [Site(kind, layer) for kind in KINDS])
        assert found["bit_equal"] and found["expert_inner"] < TOLERANCE
        assert (
            check_writing(model, inputs, experts_of(model, layer), Site("expert_inner", layer))["write"]
            < 1e-5
        )


def test_an_unknown_order_is_refused_by_name(mixture, registered):
    def shuffled(self, states, index, weights):
        order = torch.randperm(len(states), generator=torch.Generator().manual_seed(0))
        made = moe.batched_mm_experts_forward(self, states[order], index[order], weights[order])
        return made[order.argsort()]

    model, inputs, layer = mixture
    registered("shuffled", shuffled)
    model.set_experts_implementation("shuffled")
    with pytest.raises(
        ModelError, match=r"'shuffled'.*not known.*set_experts_implementation\('grouped_mm'\)"
    ):
        map_model(model).place(Site("expert_inner", layer))
    assert "set_experts_implementation" in str(map_model(model))
    outcome(model, inputs)


def test_a_kernel_that_never_calls_the_gate_is_refused(mixture, registered):
    def fused(self, states, index, weights):
        made = nn.functional.linear(states, self.gate_up_proj[0])
        gate, up = made.chunk(2, dim=-1)
        return nn.functional.linear(nn.functional.silu(gate) * up, self.down_proj[0]) * weights.sum(
            1, keepdim=True
        )

    model, inputs, layer = mixture
    registered("fused", fused)
    site = Site("expert_inner", layer)
    with visit(model, {site: lambda routed: None}):
        model.set_experts_implementation("fused")
        with pytest.raises(ModelError, match="not known"):
            outcome(model, inputs)
    with pytest.raises(ModelError, match="without _apply_gate and act_fn"):
        map_model(model).place(site)


def test_a_slot_without_an_expert_is_0_and_not_routed():
    require("a slot of its mixtures always holds an expert", transformers="5.23")
    model, inputs = built("mixtral")
    model = copy.deepcopy(model)
    model.set_experts_implementation("eager")
    layer = 1
    module = experts_of(model, layer)

    def drop(_, args):
        states, index, weights = args
        index, weights = index.clone(), weights.clone()
        index[::2, 1], weights[::2, 1] = module.num_experts, 0.0
        return states, index, weights

    handle = module.register_forward_pre_hook(drop)
    found = check_reading(model, inputs, module, [Site(kind, layer) for kind in KINDS])
    assert found.pop("bit_equal") and found.pop("restored") and found.pop("experts")
    assert max(found.values()) < TOLERANCE
    seen = []
    with torch.no_grad(), visit(model, {Site("expert_inner", layer): seen.append}):
        outcome(model, inputs)
    routed = seen[0]
    dropped = ~routed.is_routed
    assert dropped.any() and not dropped.all() and not routed.values[dropped].any()
    assert (routed.experts[dropped] == routed.n_experts).all()
    handle.remove()


def dense(routed, values=None):
    """[batch, token, coordinate], as no part of xalign makes it."""
    values = routed.values if values is None else values
    found = torch.zeros(*routed.experts.shape[:2], routed.n_experts + 1, routed.width)
    for slot in range(routed.experts.shape[-1]):
        place = routed.experts[..., slot, None, None].expand(-1, -1, 1, routed.width)
        found = found.scatter_add(2, place, values[..., slot, None, :])
    return found[:, :, :-1].flatten(2)


def drawn(seed=0):
    draw = torch.Generator().manual_seed(seed)
    values = torch.randn(3, 6, 2, 4, generator=draw)
    experts = torch.rand(3, 6, 5, generator=draw).argsort(-1)[..., :2]
    experts[1, 2, 0] = 5
    values[1, 2, 0] = 0
    return Routed(values, experts, 5)


def test_coordinates_are_read_and_replaced():
    routed = drawn()
    coordinates = torch.tensor([0, 3, 7, 12, 19, 6])
    wanted = dense(routed)
    assert torch.equal(routed.at(coordinates), wanted[..., coordinates])
    reached = (
        dense(routed, torch.ones_like(routed.values) * routed.is_routed[..., None])[..., coordinates] > 0
    )
    assert torch.equal(routed.reaches(coordinates), reached)
    new = torch.randn(3, 6, 6)
    found = Routed(routed.replaced(coordinates, new), routed.experts, 5)
    wanted[..., coordinates] = torch.where(reached, new, wanted[..., coordinates])
    assert torch.equal(dense(found), wanted)
    assert routed.without_first(2).experts.shape == (3, 4, 2)


@pytest.mark.parametrize("how", POOLS)
def test_pools_are_those_of_the_dense_values(how):
    for seed in range(4):
        routed = drawn(seed)
        pooled = torch.tensor([[1, 1, 1, 1, 0, 0], [0, 1, 1, 1, 1, 1], [0, 0, 1, 0, 1, 0]]).bool()
        weights = token_weights(pooled, how)
        found = pool_experts(routed.values, routed, weights, how)
        torch.testing.assert_close(found, pool(dense(routed), weights, how))


@pytest.mark.parametrize("mixture", ["qwen3_moe", "gpt_oss"], indirect=True)
def test_read_states_pools_every_state_of_experts(mixture):
    model, inputs, layer = mixture
    ids = inputs["input_ids"]
    mask = torch.ones_like(ids)
    batch = Batch({"input_ids": ids, "attention_mask": mask}, mask.bool(), ((0,), (1,)))
    states = {
        "expert_gate": ("value", "abs", "active", "act"),
        "expert_inner": ("value", "abs", "active"),
        "router": ("value", "active"),
    }
    readings = [
        Reading(Site(kind, layer), state, how)
        for kind, wanted in states.items()
        for state in wanted
        for how in POOLS
    ]
    found = read_states(model, [batch], readings)
    seen = {}
    with (
        torch.no_grad(),
        visit(
            model,
            {Site(kind, layer): lambda routed, kind=kind: seen.__setitem__(kind, routed) for kind in KINDS},
        ),
    ):
        model(input_ids=ids, attention_mask=mask, use_cache=False)
    module = experts_of(model, layer)
    for reading in readings:
        routed = seen[reading.site.kind]
        values = routed.values
        if reading.site.kind == "expert_gate" and reading.state in ("act", "active"):
            if model.config.model_type == "gpt_oss":
                low = values.clamp(max=module.limit)
                values = low * torch.sigmoid(low * module.alpha)
            else:
                values = nn.functional.silu(values)
        if reading.state == "abs":
            values = values.abs()
        elif reading.state == "active":
            values = (values > 0).float()
        wanted = pool(dense(routed, values), token_weights(mask.bool(), reading.pool), reading.pool)
        torch.testing.assert_close(found[reading], wanted, msg=str(reading))
        assert found[reading].std() > 0 or reading.site.kind == "router"


def test_the_map_says_what_there_is():
    model, _ = built("deepseek_v3")
    found = map_model(model)
    printed = str(found)
    layer = found.sites("router")[0].layer
    assert f"{layer}.expert_inner inside" in printed and " experts × " in printed
    assert found.sites("inner")  # dense blocks and shared experts
    place = found.place(Site("expert_gate", layer))
    assert place.width == place.experts.count * place.module.down_proj.shape[-1]
    assert found.place(Site("router", layer)).width == place.experts.count


@pytest.mark.slow
def test_pooling_all_experts_costs_a_quarter_of_a_forward_at_most():
    """Medians of paired runs on one thread: 64 experts of width 512, 8 for each token."""
    import time
    from statistics import median

    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    sizes = {"hidden_size": 512, "moe_intermediate_size": 512, "num_experts": 64, "num_experts_per_tok": 8}
    config = Qwen3MoeConfig(
        **sizes,
        num_hidden_layers=2,
        num_attention_heads=8,
        num_key_value_heads=8,
        vocab_size=1000,
        head_dim=64,
    )
    model = Qwen3MoeForCausalLM(config).eval()
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 1000, (16, 32), generator=draw)
    mask = torch.ones_like(ids)
    batch = Batch({"input_ids": ids, "attention_mask": mask}, mask.bool(), tuple((i,) for i in range(16)))
    found = map_model(model)
    of_experts = [Reading(site, "active") for site in found.sites("expert_gate")]
    of_experts += [Reading(site, "abs") for site in found.sites("expert_inner")]
    cheap = [Reading(Site("hidden", "final"))]
    ratios = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(15):
            times = []
            for readings in (cheap, [*cheap, *of_experts]):
                start = time.process_time()
                read_states(model, [batch], readings)
                times.append(time.process_time() - start)
            ratios.append(times[1] / times[0])
    finally:
        torch.set_num_threads(threads)
    print(f"CPU time, all experts pooled over none: {median(ratios):.3f}")
    assert median(ratios) <= 1.25, ratios
