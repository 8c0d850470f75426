"""`check_experts`: test what is claimed of the experts of a mixture, in a forward on other inputs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from xalign.errors import ModelError
from xalign.model.architectures.expert_claims import ExpertsClaim
from xalign.model.architectures.expert_gate import gate_columns, is_linear_in
from xalign.model.architectures.expert_order import ORDERS, Order, known_order
from xalign.model.architectures.places import Experts
from xalign.model.architectures.resident import is_resident
from xalign.model.expert_call import Given, Rows, unknown_order
from xalign.model.expert_taps import tapped
from xalign.model.hooks import Owner
from xalign.model.shadow import put_shadow

GATE = "experts' gate = W_up · their input"
NEURONS = "act(gate) · up = experts' inner"
ROUTED = "Σ weight · W_down · inner = experts' output"
Check = Callable[[str, Tensor, Tensor], None]


class Unproved(Exception):  # noqa: N818
    """Why nothing is known of some experts."""


@dataclass
class Recorded:
    """What experts were given, computed and gave in one call."""

    given: Given
    gates: list[Tensor] = field(default_factory=list)
    inners: list[Tensor] = field(default_factory=list)
    output: Tensor | None = None


@dataclass(frozen=True, slots=True)
class ProvedExperts:
    """What was proved of the experts of a mixture.

    Attributes:
        claim: Where they are.
        experts: What a place says of them.
        is_activated: Whether the activated gate can be computed.
    """

    claim: ExpertsClaim
    experts: Experts
    is_activated: bool


def record_experts(owner: Owner, module: nn.Module, note: Callable[[Recorded], None]) -> None:
    """Record each call of some experts, until `drop_shadows` takes it off their forward."""

    def keeper(kept: list[Tensor]) -> Callable[[Tensor], Tensor]:
        def keep(rows: Tensor) -> Tensor:
            kept.append(rows.clone())
            return rows

        return keep

    def run(lower: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            found = Recorded(Given(module, args, kwargs))
        except ModelError:
            return lower(*args, **kwargs)
        with tapped(module, keeper(found.gates), keeper(found.inners), None):
            output = lower(*args, **kwargs)
        found.output = output.clone() if isinstance(output, Tensor) else None
        note(found)
        return output

    put_shadow(module, "forward", owner, run)


def check_experts(
    check: Check, claim: ExpertsClaim, module: nn.Module, found: Recorded, tokens: int
) -> ProvedExperts:
    """Test the equations of one module of experts.

    Args:
        check: Compares the two sides of an equation.
        claim: What is claimed of it.
        module: The experts.
        found: What they computed.
        tokens: Number of tokens of the forward.

    Raises:
        Unproved: It cannot be told which row is which token's.
    """
    index = found.given.index
    if len(index) != tokens:
        raise Unproved(f"{claim.path} is given {len(index)} tokens, not the {tokens} of the forward")
    if getattr(module, "_is_expert_parallel", False):  # absent in transformers 5.16
        raise Unproved(f"{claim.path} holds only a part of the experts, the others are in other processes")
    if not found.inners or not found.gates:
        raise Unproved(
            f"{claim.path} computes its neurons without _apply_gate and act_fn, so they are not seen"
        )
    if found.inners[0].shape[-1] != claim.width:
        raise Unproved(f"{claim.path} has {found.inners[0].shape[-1]} neurons per expert, not {claim.width}")
    gate, is_activated = None, True
    if module.has_gate:
        gate, rest = gate_columns(module, claim.width)
        is_activated = is_linear_in(module, rest, claim.width) and not is_linear_in(module, gate, claim.width)
    order = known_order(module)
    if not _are_resident(module):
        if order is None:
            raise Unproved(unknown_order(module, claim.path))
    elif order is not None:
        _check(check, module, found, order, gate)
    else:
        return ProvedExperts(
            claim, Experts(claim.count, gate, _order_of(check, claim, module, found, gate)), is_activated
        )
    return ProvedExperts(claim, Experts(claim.count, gate), is_activated)


def _order_of(
    check: Check, claim: ExpertsClaim, module: nn.Module, found: Recorded, gate: slice | None
) -> Order:
    """Return the order in which the equations hold, of an implementation that is not known."""
    for order in ORDERS:
        if (order == "expert") != (len(found.inners) > 1):
            continue
        try:
            _check(check, module, found, order, gate)
        except Exception:  # of this order
            continue
        return order
    raise Unproved(unknown_order(module, claim.path))


def _are_resident(module: nn.Module) -> bool:
    return all(is_resident(weight) for weight in _weights(module).values())


def _weights(module: nn.Module) -> dict[str, Tensor]:
    up = "gate_up_proj" if module.has_gate else "up_proj"
    names = {"up": up, "down": "down_proj"}
    if module.has_bias:
        names |= {"up_bias": f"{up}_bias", "down_bias": "down_proj_bias"}
    return {name: getattr(module, of_module) for name, of_module in names.items()}


def _check(check: Check, module: nn.Module, found: Recorded, order: Order, gate: slice | None) -> None:
    rows, weights = Rows(found.given, order), _weights(module)
    states = found.given.states.unsqueeze(1).expand(-1, rows.index.shape[1], -1)
    before = rows.routed(_projected(module, states, rows.index, weights["up"], weights.get("up_bias")))
    seen = rows.values(torch.cat(found.gates))
    is_whole = seen.shape[-1] == before.shape[-1]
    check(GATE, seen, before if is_whole or gate is None else before[..., gate])
    inner = rows.values(torch.cat(found.inners))
    act = module._apply_gate if module.has_gate else module.act_fn
    made: Tensor = act(seen if is_whole else before)  # type: ignore[operator]
    check(NEURONS, rows.routed(made), inner)
    after = _projected(module, inner, rows.index, weights["down"], weights.get("down_bias"))
    if getattr(module, "has_post_expert_norm", False):  # absent in transformers 5.16
        after = module.post_expert_norm(after)  # type: ignore[operator]
    summed = (rows.routed(after) * rows.routed(found.given.weights.unsqueeze(-1))).sum(dim=1)
    if found.output is not None:
        check(ROUTED, summed.to(found.output.dtype).reshape(found.output.shape), found.output)


def _projected(
    module: nn.Module, states: Tensor, index: Tensor, weight: Tensor, bias: Tensor | None
) -> Tensor:
    """Return what the expert of each slot makes of its states [token, slot, width]."""
    width = weight.shape[-1 if module.is_transposed else -2]
    made = states.new_zeros(*states.shape[:2], width)
    for expert in index[index < module.num_experts].unique().tolist():  # type: ignore[no-untyped-call, operator]
        token, slot = (index == expert).nonzero(as_tuple=True)
        matrix = weight[expert] if module.is_transposed else weight[expert].T
        product = states[token, slot] @ matrix
        made[token, slot] = product if bias is None else product + bias[expert]
    return made
