"""What is proved of a model is what the table says of it; what is claimed wrongly is refuted."""

from dataclasses import replace
from weakref import WeakKeyDictionary

import pytest
import torch

from tests.tiny import FAMILIES, make_model
from xalign import UnitSet, map_model, steer
from xalign.model.architectures import proved
from xalign.model.architectures.claims import BlockClaim, NetworkClaim, Spot
from xalign.model.architectures.define import define
from xalign.model.architectures.example import LINES, caller, example_inputs
from xalign.model.architectures.from_proof import stack_of_proof
from xalign.model.architectures.from_table import stack_of_layout
from xalign.model.architectures.proof import CHAIN, DOWN, NEURONS, STREAM, BlockProof, Refuted, prove
from xalign.model.architectures.proved import proved_stacks
from xalign.model.architectures.resident import weights_of
from xalign.model.architectures.sites import EXPERT_KINDS
from xalign.model.architectures.table import LAYOUTS, has_blocks
from xalign.model.architectures.trace import trace

KINDS = ("hidden", "gate", "inner", "attn_out", "mlp_out")
VARIANTS = {
    **{family: {} for family in FAMILIES},
    "opt-350m": {"do_layer_norm_before": False, "word_embed_proj_dim": 16},
    "bloom-post": {"apply_residual_connection_post_layernorm": True},
}


def make(name, **changes):
    return make_model(name.split("-350m")[0].split("-post")[0], **VARIANTS[name], **changes)


def place_of(place):
    return place.path, place.side, place.width, place.columns, place.axes, place.call, place.calls


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_proof_finds_what_the_table_says(name, dtype):
    model = make(name).to(dtype)
    layout = LAYOUTS[model.config.model_type]
    prefix, holder = next((path, one) for path, one in model.named_modules() if has_blocks(one, layout))
    said = stack_of_layout(holder, prefix, name, layout)
    (proved,) = proved_stacks(model)
    found = stack_of_proof(model, proved, "")
    assert found is not None
    assert (found.width, len(found.blocks)) == (said.width, len(said.blocks))
    assert place_of(found.embed) == place_of(said.embed)
    assert place_of(found.final) == place_of(said.final)
    for block, expected in zip(found.blocks, said.blocks, strict=True):
        assert set(block.refused) <= set(EXPERT_KINDS)
        for kind in KINDS:
            assert [place_of(one) for one in block.places[kind]] == [
                place_of(one) for one in expected.places[kind]
            ], kind
        assert block.activations[0].module is expected.activations[0].module
    for block in proved.blocks[:-1]:
        assert set(block.errors) == {NEURONS, DOWN, STREAM, CHAIN}
        assert max(block.errors.values()) <= 1e-6


def claims_of(family):
    model = make_model(family)
    first, second = (next(example_inputs(model, seed)) for seed in (1, 2))
    (stack,) = define(trace(model, caller(model, first)), LINES, weights_of(model, torch.float64))
    return model, stack, caller(model, second)


def verdict(model, stack, run, block: BlockClaim, **changes):
    """What the proof says of a block about which something else is claimed."""
    number = stack.blocks.index(block)
    blocks = (*stack.blocks[:number], replace(block, **changes), *stack.blocks[number + 1 :])
    ((*proofs,),) = prove(model, run, [replace(stack, blocks=blocks)])
    return {kind: why for kind, why in proofs[number].refused.items() if kind not in EXPERT_KINDS}


def network(block: BlockClaim, **changes) -> tuple[NetworkClaim, ...]:
    return (replace(block.networks[0], **changes),)


def moved(spot: Spot, old: str, new: str, **changes) -> Spot:
    assert old in spot.path
    return replace(spot, path=spot.path.replace(old, new), **changes)


# Family, what is claimed instead, and the equation that refutes it.
BROKEN_NETWORKS = {
    "up as the gate": (
        "llama",
        lambda one: {"gate": one.others[0], "others": (one.gate,)},
        f"{NEURONS} is off by",
    ),
    "the key as the gate": (
        "gpt2",
        lambda one: {"gate": replace(moved(one.gate, "mlp.c_fc", "attn.c_attn"), columns=slice(0, 80))},
        f"{NEURONS} is off by",
    ),
    "the second half as the gate": (
        "phi3",
        lambda one: {"gate": replace(one.gate, columns=slice(80, None))},
        f"{NEURONS} is off by",
    ),
    "every second column as the gate": (
        "glm",
        lambda one: {"gate": replace(one.gate, columns=slice(0, None, 2))},
        f"{NEURONS} is off by",
    ),
    "the gate of another block": (
        "llama",
        lambda one: {"gate": moved(one.gate, "layers.1", "layers.2")},
        "ran 0 times in one call of its block",
    ),
    "another activation": (
        "llama",
        lambda one: {"activation": claims_of("gemma2")[1].blocks[0].networks[0].activation},
        f"{NEURONS} is off by",
    ),
    "no activation": ("bert", lambda one: {"activation": None}, f"{NEURONS} is off by"),
    "the output projection of attention as down": (
        "bert",
        lambda one: {
            "inner": moved(one.inner, "output.dense", "attention.output.dense"),
            "down": moved(one.down, "output.dense", "attention.output.dense"),
        },
        NEURONS,
    ),
    "down's output of another module": (
        "gpt2",
        lambda one: {"down": moved(one.down, "mlp.c_proj", "attn.c_proj")},
        DOWN,
    ),
}


@pytest.mark.parametrize("name", BROKEN_NETWORKS)
def test_a_network_claimed_wrongly_is_refuted(name):
    family, break_it, message = BROKEN_NETWORKS[name]
    model, stack, run = claims_of(family)
    block = stack.blocks[1]
    assert "inner" not in verdict(model, stack, run, block)
    refused = verdict(model, stack, run, block, networks=network(block, **break_it(block.networks[0])))
    assert refused.keys() == {"gate", "inner"}
    assert message in refused["inner"]


BROKEN_STREAMS = {
    "attention before its norm": ("gemma2", "attn_out", "post_attention_layernorm", "self_attn"),
    "the network before its norm": ("olmo2", "mlp_out", "post_feedforward_layernorm", "mlp"),
    "the query in place of attention": ("llama", "attn_out", "self_attn", "self_attn.o_proj"),
    "the norm in front in place of the network": ("llama", "mlp_out", "mlp", "post_attention_layernorm"),
    "attention twice": ("gpt_neox", "mlp_out", "post_mlp_dropout", "post_attention_dropout"),
}


@pytest.mark.parametrize("name", BROKEN_STREAMS)
def test_a_stream_claimed_wrongly_is_refuted(name):
    family, kind, old, new = BROKEN_STREAMS[name]
    model, stack, run = claims_of(family)
    block = stack.blocks[1]
    spots = getattr(block.stream, kind)
    stream = replace(block.stream, **{kind: (moved(spots[0], old, new),)})
    refused = verdict(model, stack, run, block, stream=stream)
    if name == "the query in place of attention":  # self_attn returns what o_proj does: no other tensor
        assert not refused
        return
    assert refused.keys() == {"attn_out", "mlp_out"}
    assert f"{STREAM} is off by" in refused["attn_out"]


def test_a_block_claimed_wrongly_is_refuted():
    model, stack, run = claims_of("llama")
    swapped = replace(stack, blocks=(stack.blocks[1], stack.blocks[0], stack.blocks[2]))
    ((*proofs,),) = prove(model, run, [swapped])
    assert all(CHAIN not in proof.errors for proof in proofs)
    twice = replace(stack, blocks=(*stack.blocks, replace(stack.blocks[2], call=1)))
    ((*proofs,),) = prove(model, run, [twice])
    assert proofs[3].refused["hidden"] == "model.layers.2 did not run in the second forward"


@pytest.mark.parametrize("kind", ["mlp_out", "hidden"])
def test_what_is_found_of_a_steered_model_is_not_said_of_others(kind, monkeypatch):
    """Mapped first while it was steered, a model lent its map to every other of the same shape."""
    monkeypatch.setattr(proved, "_COMMON", {})
    monkeypatch.setattr(proved, "_KEPT", WeakKeyDictionary())
    steered, other = make_model("llama"), make_model("llama", seed=1)
    plain = str(map_model(other))
    monkeypatch.setattr(proved, "_COMMON", {})
    units = UnitSet.from_rows([("x", f"0.{kind}", one, 1.0, 0.5) for one in range(8)])
    with steer(steered, units, operator="add"):
        monkeypatch.setattr(proved, "_KEPT", WeakKeyDictionary())
        assert str(map_model(steered)) != plain  # it computes something else
    assert str(map_model(other)) == plain


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sums_in_another_order_hold_and_other_equations_do_not(dtype):
    """Kernels of mixtures differed by ten times the precision."""
    proof, states = BlockProof(claim=None), torch.linspace(1, 2, 64, dtype=torch.float64).to(dtype)
    eps = torch.finfo(dtype).eps
    proof.check(NEURONS, states.double() * (1 + 12 * eps), states)
    assert proof.errors[NEURONS] == pytest.approx(12 * eps)
    with pytest.raises(Refuted, match="is off by"):
        proof.check(NEURONS, states.double() * (1 + 100 * eps), states)
