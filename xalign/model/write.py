"""`write`: changes the values at some sites while the model runs, and leaves no trace."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from xalign.arguments import whole_number
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.model.layouts import Layout
from xalign.model.map import map_model
from xalign.model.sites import Site
from xalign.model.visit import VisitFn, visit

Operator = Literal["set", "add", "scale", "zero"]
Operand = float | Float[Tensor, " units"]

OPERATORS: dict[Operator, Callable[[Tensor, Operand], Tensor]] = {
    "set": lambda values, operand: torch.zeros_like(values) + operand,
    "add": lambda values, operand: values + operand,
    "scale": lambda values, operand: values * operand,
    "zero": lambda values, operand: torch.zeros_like(values),  # noqa: ARG005
}


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of values at a site.

    Attributes:
        operator: `set`, `add`, `scale` or `zero`.
        value: A number, or a tensor with one value per unit; nothing for `zero`.
        units: Indices of the coordinates changed; all of the site where None.
    """

    operator: Operator
    value: Operand | None = None
    units: Sequence[int] | None = None

    def __post_init__(self) -> None:
        """Refuses edits that mean nothing."""
        if not isinstance(self.operator, str) or self.operator not in OPERATORS:
            raise ArgumentError(f"operator={self.operator!r} must be one of {', '.join(OPERATORS)}")
        if (self.value is None) != (self.operator == "zero"):
            needed = "takes no value" if self.operator == "zero" else "needs a value"
            raise ArgumentError(f"operator {self.operator!r} {needed}; got value={self.value!r:.60}")
        if self.value is not None and not isinstance(self.value, int | float | Tensor):
            raise ArgumentTypeError(
                f"value={self.value!r:.60} must be a number or a tensor of one value per unit"
            )
        if self.units is not None:
            if not isinstance(self.units, Iterable):
                raise ArgumentTypeError(f"units={self.units!r:.60} must be a list of indices, or None")
            plain = getattr(self.units, "tolist", None)  # of a tensor or an array
            listed = self.units if plain is None else plain()
            object.__setattr__(self, "units", [whole_number("units", unit, least=None) for unit in listed])
        if self.units is not None and (not len(self.units) or len(set(self.units)) != len(self.units)):
            raise ArgumentError(f"units={list(self.units)[:8]!r} must be different indices, at least one")


@contextmanager
def write(model: nn.Module, edits: Mapping[Site, Edit], *, layout: Layout | None = None) -> Iterator[None]:
    """Changes values at sites in every forward inside the `with`, for all tokens.

    The weights are not touched: after the `with`, also after an exception, the model is what it was, to the
    bit.

    Args:
        model: The model that is called inside the `with`.
        edits: Site -> change.
        layout: Module paths, for an architecture that is not known.

    Raises:
        ArgumentError: A unit that the site does not have, or a value whose length is not that of the units.

    Example:
        >>> with write(model, {Site("inner", 0): Edit("zero", units=[3, 7])}):
        ...     without_two_neurons = model(**batch)
    """
    if not isinstance(edits, Mapping) or not all(isinstance(edit, Edit) for edit in edits.values()):
        raise ArgumentTypeError(f"edits must map xalign.Site to Edit, not be {edits!r:.80}")
    model_map = map_model(model, layout)
    fns: dict[Site, VisitFn] = {}
    for site, edit in edits.items():
        if not isinstance(site, Site):
            raise ArgumentTypeError(f"edits must map xalign.Site to Edit, not {site!r:.60}; see Site.parse")
        width = model_map.place(site).width
        units = range(width) if edit.units is None else edit.units
        outside = [unit for unit in units if not 0 <= unit < width]
        if outside:
            raise ArgumentError(
                f"units {outside[:8]} are outside site {site}, which has {width} units from 0"
            )
        if isinstance(edit.value, Tensor) and edit.value.shape not in ((), (len(units),)):
            raise ArgumentError(
                f"value for site {site} has shape {tuple(edit.value.shape)}; give one number, or one per "
                f"unit ({len(units)})"
            )
        fns[site] = _writer(edit)
    with visit(model, fns, layout=layout):
        yield


def _writer(edit: Edit) -> VisitFn:
    change = OPERATORS[edit.operator]

    def put(values: Float[Tensor, "batch token width"]) -> Float[Tensor, "batch token width"]:
        operand = edit.value if edit.value is not None else 0.0
        if isinstance(operand, Tensor):
            operand = operand.to(values)
        if edit.units is None:
            return change(values, operand)
        new = values.clone()
        new[..., list(edit.units)] = change(values[..., list(edit.units)], operand)
        return new

    return put
