"""What must hold of the experts of any mixture; the tests and the sweep ask it."""

from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

import xalign
from tests.architectures.expert_oracle import column, computed
from tests.architectures.zoo import run
from xalign import Site, visit
from xalign.model.routed import Routed

KINDS = ("expert_gate", "expert_inner", "router")
IMPLEMENTATIONS = ("grouped_mm", "batched_mm", "eager")
NAMES = ("forward", "_apply_gate", "act_fn")


class Boom(Exception):
    """What a function at a site raises."""


def outcome(model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    torch.manual_seed(0)  # some draw noise
    return run(model, inputs)[0]


def shadows(model: nn.Module) -> dict[str, list[Any]]:
    """What stands in the modules of a model beside parameters; the same before and after."""
    return {path: [vars(one).get(name) for name in NAMES] for path, one in model.named_modules()}


@contextmanager
def given_to(experts: nn.Module):
    """The states, experts and weights that a module of experts is given, and what it returns."""
    seen: dict[str, Tensor] = {}

    def note(module: nn.Module, args: Any, kwargs: Any, output: Tensor) -> None:
        seen.update(
            zip(("states", "index", "weights"), (*args, *kwargs.values()), strict=True), output=output
        )

    handle = experts.register_forward_hook(note, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()


def relative(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1e-9))


@torch.no_grad()
def check_reading(model: nn.Module, inputs: dict[str, Tensor], module: nn.Module, sites: list[Site]) -> dict:
    """Read sites of one module, and compare them with the weights: by how much each is off."""
    before, expected = shadows(model), outcome(model, inputs)
    seen: dict[str, Any] = {}
    looks = {site: lambda routed, kind=site.kind: seen.__setitem__(kind, routed) for site in sites}
    with given_to(module) as given, visit(model, looks):
        found = outcome(model, inputs)
    wanted = computed(module, given["states"], given["index"], given["weights"])
    flat = {kind: routed.values.flatten(0, 1) for kind, routed in seen.items()}
    routed = given["index"] < module.num_experts
    return {
        "bit_equal": torch.equal(expected, found),
        "restored": before == shadows(model),
        "expert_gate": relative(flat["expert_gate"], wanted.gate),
        "expert_inner": relative(flat["expert_inner"], wanted.inner),
        "output": relative(given["output"].reshape(wanted.output.shape), wanted.output),
        "router": relative(flat["router"].squeeze(-1), given["weights"] * routed),
        "experts": torch.equal(
            seen["router"].experts.flatten(0, 1), given["index"].clamp(max=module.num_experts)
        ),
    }


@torch.no_grad()
def check_writing(model: nn.Module, inputs: dict[str, Tensor], module: nn.Module, site: Site) -> dict:
    """Zero one neuron of one expert, and compare what the experts then give with what the weights say."""
    with given_to(module) as given:
        expected = outcome(model, inputs)
    was = computed(module, given["states"], given["index"], given["weights"])
    expert, neuron = int(given["index"][0, 0]), 3
    coordinate = torch.tensor([expert * was.inner.shape[-1] + neuron])

    def zero(routed: Routed) -> Tensor:
        return routed.replaced(coordinate, torch.zeros_like(routed.at(coordinate)))

    with visit(model, {site: zero}), given_to(module) as changed:
        found = outcome(model, inputs)
    hit = given["index"] == expert
    lost = (hit * given["weights"] * was.inner[..., neuron]).sum(1)[:, None] * column(module, expert, neuron)
    result = {"changed": not torch.equal(expected, found)}
    if not getattr(module, "has_post_expert_norm", False):
        wanted = given["output"].reshape(lost.shape) - lost
        result["write"] = relative(changed["output"].reshape(lost.shape), wanted)
    return result | {"after": torch.equal(expected, outcome(model, inputs))}


@torch.no_grad()
def check_exception(model: nn.Module, inputs: dict[str, Tensor], site: Site) -> bool:
    """Whether a function that raises leaves the model as it was."""
    before, expected = shadows(model), outcome(model, inputs)

    def fail(routed: Routed) -> None:
        raise Boom

    try:
        with visit(model, {site: fail}):
            outcome(model, inputs)
    except Boom:
        return before == shadows(model) and torch.equal(expected, outcome(model, inputs))
    return False


def every_implementation(model: nn.Module, inputs: dict[str, Tensor]) -> dict[str, Any]:
    """What is found of the experts of a model in each implementation, as a row of the sweep holds it."""
    model_map = xalign.map_model(model)
    stacks = [stack for stack in model_map.stacks if not model_map.refused("router", stack)]
    if not stacks:
        reasons = [reason for stack in model_map.stacks for reason in model_map.mixtures(stack).values()]
        return {"experts": reasons[0] if reasons else None}
    inside = {path: one for path, one in model.named_modules() if hasattr(one, "has_gate")}
    settings = {path: one.config._experts_implementation for path, one in inside.items()}
    checks: dict[str, Any] = {}
    for name in IMPLEMENTATIONS:
        with suppress(ValueError):  # some pass no setting on to the model inside
            model.set_experts_implementation(name)
        for one in inside.values():
            one.config._experts_implementation = name
        checks[name] = _one_implementation(model, inputs, stacks[0])
    for path, one in inside.items():
        one.config._experts_implementation = settings[path]
    return {"experts": "", "checks": checks}


def _one_implementation(model: nn.Module, inputs: dict[str, Tensor], stack: str) -> dict[str, Any]:
    try:
        model_map = xalign.map_model(model)
        first = model_map.sites("router", stack)[0]
        module = model_map.place(first).module
        sites = [Site(kind, first.layer, first.stack, part=first.part) for kind in KINDS]
        looks = {site: lambda routed: None for kind in KINDS for site in model_map.sites(kind, stack)}
        expected = outcome(model, inputs)
        with torch.no_grad(), visit(model, looks):
            equal = torch.equal(expected, outcome(model, inputs))
        read = check_reading(model, inputs, module, sites)
        written = check_writing(model, inputs, module, sites[1])
        restored = check_exception(model, inputs, sites[1])
        return read | written | {"all_equal": equal, "after_exception": restored}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error!s:.200}"}
