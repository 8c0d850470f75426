"""Columns of down projections: what single neurons add to the stream, read and exchanged."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from xalign.errors import ArgumentError, ModelError
from xalign.model.architectures.map import ModelMap
from xalign.model.architectures.sites import Site
from xalign.model.distributed import is_sharded
from xalign.model.indices import Indices
from xalign.model.operators import Operator
from xalign.model.operators.operands import NOTHING, OperandKind
from xalign.model.placement import device_of
from xalign.model.write import Edit


def down_site(model_map: ModelMap, site: Site) -> Site:
    """Return the place of the output of the down projection whose input a site is.

    Raises:
        ArgumentError: A site that is not the input of a down projection.
    """
    place = model_map.place(site)
    if site.kind != "inner" or place.side != "input":
        raise ArgumentError(
            f"site {site} is not the input of a down projection; give neurons, units at 'inner' sites"
        )
    return Site("linear", name=place.path)


def down_columns(
    model: nn.Module, model_map: ModelMap, site: Site, units: Int[Tensor, " unit"]
) -> Float[Tensor, "unit width"]:
    """Return what each neuron adds to the output of its down projection per unit of activation, in float32.

    The projection is run on unit vectors, so that it may be a Linear, a Conv1D, or one with an adapter or
    with quantised weights.

    Raises:
        ModelError: A projection whose weights are split, or have no values.
    """
    place = model_map.place(site)
    weights = [one for one in place.module.parameters() if one.is_floating_point()]
    if is_sharded(model) or any(one.is_meta for one in weights):
        raise ModelError(
            f"the weights of {place.path} are split between processes, or on the meta device; load the model "
            "whole to copy from it or into it"
        )
    dtype, device = (weights[0].dtype, weights[0].device) if weights else (torch.float32, device_of(model))
    unit_vectors = torch.zeros(1, len(units) + 1, place.width, device=device, dtype=dtype)
    unit_vectors[0, torch.arange(len(units)), units.to(unit_vectors.device)] = 1
    training = [one for one in place.module.modules() if one.training]
    try:
        place.module.train(False)
        with torch.no_grad():
            added = place.module(unit_vectors)[0].float().cpu()
    finally:
        for one in training:
            one.training = True
    columns: Tensor = added[:-1] - added[-1:]  # the last row is the bias alone
    return columns


@dataclass(slots=True)
class _Seen:
    """The activations of the neurons in the forward that is running."""

    values: Tensor | None = None

    def keep(self, values: Tensor, operand: None) -> Tensor:  # noqa: ARG002
        """Remember the values, and change nothing."""
        self.values = values
        return values

    def add(self, values: Tensor, columns: Tensor) -> Tensor:
        """Return values + activations · columns, and forget the activations."""
        seen, self.values = self.values, None
        if seen is None:
            raise ModelError("a down projection was run without its input being seen")
        return (values.to(columns.dtype) + seen.to(columns.dtype) @ columns).to(values.dtype)


def exchange(
    inner: Site, down: Site, units: Int[Tensor, " unit"], columns: Float[Tensor, "unit width"]
) -> dict[Site, Edit]:
    """Return the edits under which each neuron adds `columns` per unit of activation, on top of its own.

    They are made at two sites: the activations are seen at the input of the down projection, and what they
    add is added to its output. That is equal to adding to the columns of its weight.
    """
    seen = _Seen()
    return {
        inner: Edit(Operator("see", seen.keep, operand=NOTHING), units=Indices(units.numpy())),
        down: Edit(Operator("add columns", seen.add, operand=_COLUMNS), columns),
    }


def _check(name: str, value: Any) -> None:
    if not isinstance(value, Tensor) or value.dim() != 2 or not bool(value.isfinite().all()):
        raise ArgumentError(f"{name} takes a finite tensor [unit, width], not {value!r:.60}")


def _check_width(site: Site, value: Any, units: int) -> None:
    if value.shape[1] != units:
        raise ArgumentError(f"columns for site {site} are {value.shape[1]} wide, and the site is {units}")


def _to_wide(value: Any, values: Tensor, site: Site) -> Any:  # noqa: ARG001
    return value.to(values.device, torch.promote_types(values.dtype, torch.float32))


_COLUMNS = OperandKind(_check, _check_width, _to_wide, once=True)
