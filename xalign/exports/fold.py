"""`folded`: the edits of a model as changes of its weights, tried against the hooks that make them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from xalign.errors import ModelError
from xalign.exports.affine import affine_of
from xalign.exports.carriers import Carrier, carriers_of
from xalign.exports.changed import Changed, plain_weight
from xalign.exports.norm import ChangedNorm
from xalign.exports.projection import ChangedProjection
from xalign.model.architectures.map import ModelMap
from xalign.model.architectures.sites import Site
from xalign.model.distributed import is_sharded
from xalign.model.edit import Edit
from xalign.model.observe import observing
from xalign.model.run_example import run_example
from xalign.model.undo import Steps, undo
from xalign.model.write import write

# How far outputs may differ by rounding alone: the norm of the difference, relative to that of the outputs.
_ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-4}
_OF_NARROW = 5e-2


def folded(edits: Mapping[Site, Edit], model: nn.Module, model_map: ModelMap) -> list[Changed]:
    """Return the modules of a model whose weights change, with what changes before and after each.

    Args:
        edits: The edit of each site.
        model: The model.
        model_map: Its map.

    Raises:
        ArgumentError: An edit that is not an affine function.
        ModelError: A site without weights beside it.
    """
    _check_model(model)
    changed: dict[str, Changed] = {}
    # What is added to the stream comes after what else is done to the output of a sub-layer.
    carriers = carriers_of(edits, model, model_map)
    for site, edit in sorted(edits.items(), key=lambda item: item[0].kind == "hidden"):
        carrier = carriers[site]
        change = affine_of(site, edit, carrier.width, carrier.columns)
        if carrier.adds and not change.is_offset:
            raise ModelError(
                f"operator={edit.resolved.name!r} at site {site} cannot be exported: weights can add a "
                "constant to the hidden states of a block, and cannot multiply or set them. Add there, or "
                "edit 'inner', 'mlp_out' or 'attn_out'"
            )
        one = changed.setdefault(carrier.path, _changed(carrier))
        one.steps.append((carrier.side, change))
    for one in changed.values():
        _refuse_shared(one, model)
        one.steps.sort(key=lambda step: step[0] == "output")
    return list(changed.values())


def _changed(carrier: Carrier) -> Changed:
    """Return a module that is to change, with no change yet."""
    plain_weight(carrier.path, carrier.module)
    if isinstance(carrier.module, nn.LayerNorm):
        return ChangedNorm(carrier.path, carrier.module)
    if not isinstance(carrier.module, nn.Linear | Conv1D):
        name = type(carrier.module).__name__
        raise ModelError(f"{carrier.path} is a {name}, and edits are folded into Linear and LayerNorm alone")
    return ChangedProjection(carrier.path, carrier.module)


def _check_model(model: nn.Module) -> None:
    if any("base_layer" in module._modules for module in model.modules()):
        raise ModelError(
            f"model={type(model).__name__} has an adapter, and the export would be of the weights below it: "
            "merge it first, model = model.merge_and_unload()"
        )
    if is_sharded(model):
        raise ModelError("the weights of the model are split between processes; load it whole to export it")


def _refuse_shared(changed: Changed, model: nn.Module) -> None:
    """Raise an error where other modules use the same weight."""
    users = [
        path
        for path, module in model.named_modules()
        if any(one is changed.module.weight for one in module.parameters(recurse=False))
    ]
    if users and users != [changed.path]:
        raise ModelError(
            f"the weight of {changed.path} is also that of {', '.join(users[:3])}: an edit in it would act "
            "there too, so keep to steer()"
        )


@contextmanager
def swapped(changed: Sequence[Changed], more: Mapping[nn.Module, Tensor] | None = None) -> Iterator[None]:
    """Let a model have the changed weights inside the `with`, and afterwards the very tensors that it had.

    Args:
        changed: The changed projections.
        more: Biases of further modules that have none.
    """
    steps: Steps = []
    try:
        try:
            for one in changed:
                _put(one.module, one.parameters(), steps)
            for module, bias in (more or {}).items():
                _put(module, {"bias": bias}, steps)
            yield
        finally:
            undo(steps)
    finally:
        undo(steps)


def _put(module: nn.Module, values: Mapping[str, Tensor], steps: Steps) -> None:
    for name, value in values.items():
        steps.append(partial(module._parameters.__setitem__, name, module._parameters[name]))
        module._parameters[name] = nn.Parameter(value, requires_grad=False)


def try_against_hooks(
    edits: Mapping[Site, Edit], changed: Sequence[Changed], model: nn.Module, model_map: ModelMap
) -> float:
    """Run a model with the edits and with the changed weights, and return how far its outputs differ.

    Args:
        edits: The edits, which hooks make.
        changed: The changed projections.
        model: The model.
        model_map: Its map.

    Raises:
        ModelError: They differ by more than rounding.
    """
    with observing(model):
        with write(model, edits):
            wanted = run_example(model)
        with swapped(changed):
            found = run_example(model)
    return checked_difference(found, wanted, model_map)


def checked_difference(found: Tensor, wanted: Tensor, model_map: ModelMap) -> float:
    """Return the largest difference between two outputs.

    Raises:
        ModelError: It is more than rounding.
    """
    share = float((found - wanted).norm() / wanted.norm().clamp_min(1e-30))
    allowed = _ROUNDING.get(model_map.dtype, _OF_NARROW)
    if not share <= allowed:
        narrow = allowed >= _OF_NARROW
        way_out = "export from the model in float32" if narrow else "keep to steer()"
        raise ModelError(
            "the exported edit does not do what steer() does: on an example, the outputs differ by "
            f"{share:.2g} of their norm, where rounding in {model_map.dtype} may explain {allowed:.2g}. "
            f"Nothing was written; {way_out}"
        )
    return float((found - wanted).abs().max())
