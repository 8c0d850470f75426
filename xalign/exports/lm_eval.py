"""`lm-eval`: a file for the `steered` model of lm-evaluation-harness."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xalign.errors import ArgumentError, ModelError
from xalign.exports.affine import Affine, affine_of
from xalign.exports.carriers import carriers_of
from xalign.exports.fold import checked_difference
from xalign.exports.format import Format, Request
from xalign.exports.projection import ChangedProjection
from xalign.model.architectures.kinds_of_module import widths_of
from xalign.model.architectures.map import ModelMap
from xalign.model.architectures.sites import Site
from xalign.model.edit import Edit
from xalign.model.observe import observing
from xalign.model.operators import Operator
from xalign.model.operators.operands import NOTHING
from xalign.model.run_example import run_example
from xalign.model.write import write

Step = dict[str, Any]


def write_steer_file(request: Request, path: Path) -> dict[str, Any]:
    """Write what is done to the output of each module: `add` a vector, or `clamp` what lies along one.

    The reader takes a file of `torch.save`, which is a pickle. It holds tensors, numbers and names alone, so
    that `torch.load(..., weights_only=True)` reads it too.

    Args:
        request: What to export.
        path: The new file.

    Returns:
        What the provenance says of it.

    Raises:
        ArgumentError: A change that the reader does not know.
        ModelError: A site that is no output of a module.
    """
    model, model_map = request.needed_model()
    steps: dict[str, Step] = {}
    same: dict[Site, Edit] = {}
    for site, edit in request.edits.items():
        module, at, change = _on_output(site, edit, model, model_map)
        step, again = _step(site, edit, change)
        name = _hookpoint(module, site, model)
        if name in steps:
            raise ArgumentError(
                f"site {site} cannot be exported as 'lm-eval' beside the other edits: its reader makes one "
                f"change of the output of {name}; export them one by one"
            )
        steps[name], same[at] = step, again
    with observing(model):
        with write(model, request.edits):
            wanted = run_example(model)
        with write(model, same):
            found = run_example(model)
    difference = checked_difference(found, wanted, model_map)
    with open(path, "xb") as file:
        torch.save(steps, file)
    return {"hookpoints": sorted(steps), "largest_difference": difference}


def _on_output(
    site: Site, edit: Edit, model: nn.Module, model_map: ModelMap
) -> tuple[nn.Module, Site, Affine]:
    """Return the module at whose output an edit can be made, the site of that output, and the change."""
    place = model_map.place(site)
    if place.experts is None and place.calls == 1 and place.side == "output":
        width = place.width if place.columns is None else widths_of(place.module)[1]
        at = site if place.columns is None else Site("linear", name=place.path)
        return place.module, at, affine_of(site, edit, width, place.columns)
    carrier = carriers_of([site], model, model_map)[site]
    if carrier.side != "input":
        raise ModelError(f"site {site} is the output of no module that lm-eval could name; keep to steer()")
    change = affine_of(site, edit, carrier.width, carrier.columns)
    if not change.is_offset:
        raise ArgumentError(
            f"operator={edit.resolved.name!r} at site {site} cannot be exported as 'lm-eval': its reader "
            f"sees what modules give, and this site is what {carrier.path} takes, where only a constant can "
            "be added. Export as 'peft' or 'weights', which lm-eval loads as pretrained= and peft="
        )
    moved = ChangedProjection(carrier.path, carrier.module, [("input", change)]).folded().added_bias
    index = torch.arange(len(moved))
    after = Affine(len(moved), index, moved, scale=torch.ones(len(moved), dtype=torch.float64))
    return carrier.module, Site("linear", name=carrier.path), after


def _step(site: Site, edit: Edit, change: Affine) -> tuple[Step, Edit]:
    """Return a change as the reader has it, and as an edit that does the same."""
    if change.is_offset:
        vector = change.whole_offset().float()
        return _entry("add", vector, 1.0), Edit("add", vector)
    left, right, offset = change.whole_left(), change.whole_right(), change.whole_offset()
    if left.shape[1] == 1:
        direction = right[0] / right[0].norm()
        value = float(offset @ direction)
        takes_all = torch.allclose(left[:, 0] * right[0].norm(), -direction, atol=1e-6)
        if takes_all and torch.allclose(
            offset, value * direction, rtol=1e-6, atol=1e-6 * max(1.0, abs(value))
        ):
            vector = direction.float()
            return _entry("clamp", vector, value), _clamp(vector, value)
    raise ArgumentError(
        f"operator={edit.resolved.name!r} at site {site} cannot be exported as 'lm-eval': its reader adds a "
        "vector, or sets what lies along one direction: add, project, and set or zero of one unit. Export as "
        "'peft' or 'weights', which lm-eval loads as peft= and pretrained="
    )


def _entry(action: str, vector: Tensor, coefficient: float) -> Step:
    return {
        "steering_vector": vector,
        "steering_coefficient": coefficient,
        "action": action,
        "bias": None,
        "head_index": None,
    }


def _hookpoint(module: nn.Module, site: Site, model: nn.Module) -> str:
    """Return the name of a module as the reader looks for it: within the base model."""
    base: nn.Module = getattr(model, "base_model", model)
    name = next((name for name, one in base.named_modules() if one is module), None)
    if not name:
        raise ModelError(
            f"site {site} is in no module of {type(base).__name__}, where lm-eval looks for it; keep to "
            "steer()"
        )
    return str(name)


def _clamp(direction: Tensor, value: float) -> Edit:
    """Return the edit that sets what lies along a direction of length 1 to a value, as the reader does."""

    def clamp(values: Tensor, operand: None) -> Tensor:  # noqa: ARG001
        along = direction.to(values)
        return values + along * (value - (values * along).sum(dim=-1, keepdim=True))

    return Edit(Operator("clamp_along", clamp, operand=NOTHING, is_linear=True))


LM_EVAL = Format(
    "lm-eval", write_steer_file, summary="a file for lm-eval's steered model", suffixes=(".pt", ".pth")
)
