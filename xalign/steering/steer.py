"""`steer`: units or vectors written into a model while it runs."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.model.layouts import Layout
from xalign.model.map import map_model
from xalign.model.positions import Positions
from xalign.model.sites import Site
from xalign.model.write import Edit, Operator, Written, write
from xalign.steering.origin import refuse_unfit
from xalign.units.unit_set import UnitSet

_OPERATORS: tuple[Operator, ...] = ("set", "add", "scale", "zero")


@contextmanager
def steer(
    model: nn.Module,
    units: UnitSet,
    *,
    operator: Operator = "set",
    strength: float = 1.0,
    positions: Positions = "all",
    trace: bool = False,
    layout: Layout | None = None,
) -> Iterator[Written]:
    """Changes a set's units in every forward inside the `with`.

    The weights are not touched, and after the `with` the model is what it was, to the bit. Nested: the inner
    one sees what the outer one put, so that of two that set a unit the inner one wins.

    Args:
        model: The model that is called inside the `with`, also by `generate`.
        units: The units, of one label, or of several that share no unit.
        operator: `set` to strength · value, `add` strength · value, `scale` by the strength, or `zero`.
        strength: How much.
        positions: At which tokens, as in `write`.
        trace: Notes every token changed.
        layout: Module paths, for an architecture that is not known.

    Yields:
        What has been done so far.

    Raises:
        UnitsError: Units found in a model of another shape.
        ArgumentError: No unit, a unit twice, or one that the model does not have.
        ModelError: A site that the model does not have.

    Example:
        >>> units = UnitSet.from_rows([("deu_Latn", "1.inner", 7, 0.9, 2.5)])
        >>> with steer(model, units, operator="zero") as done:
        ...     _ = model(**batch)
        >>> done.tokens
        10
    """
    if not isinstance(units, UnitSet):
        raise ArgumentTypeError(f"units must be a UnitSet, not {type(units).__name__}")
    if operator not in _OPERATORS:
        raise ArgumentError(f"operator={operator!r} must be one of {', '.join(_OPERATORS)}")
    if isinstance(strength, bool) or not isinstance(strength, int | float):
        raise ArgumentTypeError(f"strength={strength!r:.60} must be a number")
    if not len(units):
        raise ArgumentError("units is empty; there is nothing to steer with")
    if len(units.places) < len(units):
        raise ArgumentError(
            f"the labels {', '.join(units.labels)} share units, which cannot be given two values at once; "
            "take one label, units['deu_Latn'], or nest two"
        )
    refuse_unfit(units.provenance, map_model(model, layout))
    edits: dict[Site, Edit] = {}
    for site, rows in units.by_site().items():
        values = strength * torch.tensor([row.value for row in rows])
        indices = [row.index for row in rows]
        if operator == "zero":
            edits[site] = Edit("zero", units=indices)
        else:
            edits[site] = Edit(operator, float(strength) if operator == "scale" else values, indices)
    with write(model, edits, positions=positions, trace=trace, layout=layout) as written:
        yield written
