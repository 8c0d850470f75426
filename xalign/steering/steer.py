"""`steer`: units or vectors written into a model while it runs."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.architectures.map import map_model
from xalign.model.architectures.sites import Site
from xalign.model.positions import Positions
from xalign.model.write import Edit, Operator, Written, write
from xalign.units.compatibility import check_compatible
from xalign.units.language_vector import LanguageVector
from xalign.units.unit_set import UnitSet

_OF_UNITS: tuple[Operator, ...] = ("set", "add", "scale", "zero")
_OF_VECTORS: tuple[Operator, ...] = ("add", "project")


@takes_layout
@contextmanager
def steer(
    model: nn.Module,
    what: UnitSet | LanguageVector,
    *,
    operator: Operator | None = None,
    strength: float = 1.0,
    positions: Positions = "all",
    trace: bool = False,
) -> Iterator[Written]:
    """Changes a set's units, or adds a language's vectors, in every forward inside the `with`.

    The weights are not touched, and after the `with` the model is what it was, to the bit. Nested: the inner
    one sees what the outer one put, so that of two that set a unit the inner one wins.

    Args:
        model: The model that is called inside the `with`, also by `generate`.
        what: Units, of one label, or of several that share no unit; or a language's vectors.
        operator: For units `set` (the default) to strength · value, `add` strength · value, `scale` by the
            strength, or `zero`; for vectors `add` (the default) strength · vector, or `project` it away.
        strength: How much.
        positions: At which tokens, as in `write`.
        trace: Notes every token changed.

    Yields:
        What has been done so far.

    Raises:
        UnitsError: Units or vectors found in a model of another shape.
        ArgumentError: No unit, a unit twice, or one that the model does not have.
        ModelError: A site that the model does not have.

    Example:
        >>> units = UnitSet.from_rows([("deu_Latn", "1.inner", 7, 0.9, 2.5)])
        >>> with steer(model, units, operator="zero") as done:
        ...     _ = model(**batch)
        >>> done.tokens
        10
    """
    if not isinstance(what, UnitSet | LanguageVector):
        raise ArgumentTypeError(f"what must be a UnitSet or a LanguageVector, not {type(what).__name__}")
    allowed = _OF_UNITS if isinstance(what, UnitSet) else _OF_VECTORS
    operator = allowed[0] if operator is None else operator
    if operator not in allowed:
        raise ArgumentError(f"operator={operator!r} must be one of {', '.join(allowed)}")
    if isinstance(strength, bool) or not isinstance(strength, int | float):
        raise ArgumentTypeError(f"strength={strength!r:.60} must be a number")
    if not math.isfinite(strength):
        raise ArgumentError(f"strength={strength} must be finite")
    if isinstance(what, LanguageVector) and what.state != "value":
        raise ArgumentError(
            f"what holds means of the state {what.state!r}, which are nothing to add to values; give vectors "
            "of state='value', or take these off at read-out with measure(..., subtract=)"
        )
    found_in = dict(what.provenance.get("settings") or {}).get("state", "value")
    if isinstance(what, UnitSet) and operator in ("set", "add") and found_in != "value":
        raise ArgumentError(
            f"what holds values of the state {found_in!r}, and {operator!r} writes plain values: find the "
            "units with state='value', or scale or zero them"
        )
    check_compatible(what.provenance, map_model(model))
    edits = (
        _of_units(what, operator, float(strength))
        if isinstance(what, UnitSet)
        else {
            site: Edit(operator, vector if operator == "project" else strength * vector)
            for site, vector in what.vectors.items()
        }
    )
    with write(model, edits, positions=positions, trace=trace) as written:
        yield written


def _of_units(units: UnitSet, operator: Operator, strength: float) -> dict[Site, Edit]:
    """The edit of each site."""
    if not len(units):
        raise ArgumentError("units is empty; there is nothing to steer with")
    if len(units.places) < len(units):
        raise ArgumentError(
            f"the labels {', '.join(units.labels)} share units, which cannot be given two values at once; "
            "take one label, units['deu_Latn'], or nest two"
        )
    edits = {}
    for site, rows in units.by_site().items():
        indices = [row.index for row in rows]
        values = strength * torch.tensor([row.value for row in rows])
        if operator == "zero":
            edits[site] = Edit(operator, units=indices)
        else:
            edits[site] = Edit(operator, strength if operator == "scale" else values, indices)
    return edits
