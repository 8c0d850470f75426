"""`steer`: units or vectors written into a model while it runs."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from xalign.checks import number
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.architectures.map import map_model
from xalign.model.architectures.sites import Site
from xalign.model.indices import Indices
from xalign.model.operators import (
    DEFAULT_FOR_UNITS,
    DEFAULT_FOR_VECTORS,
    OPERATORS,
    Operator,
    OperatorLike,
    resolve_operator,
)
from xalign.model.operators.operator import OperandFn
from xalign.model.positions import Positions, check_positions
from xalign.model.prompt_tracker import PromptLength
from xalign.model.user_function import errors_of
from xalign.model.write import Edit, Written, write
from xalign.steering.intervention import Intervention
from xalign.units.compatibility import check_compatible
from xalign.units.language_vector import LanguageVector
from xalign.units.same_units import first_repeated
from xalign.units.unit import FACTORS
from xalign.units.unit_set import UnitSet


@takes_layout
def steer(
    model: nn.Module,
    what: UnitSet | LanguageVector | Intervention,
    *,
    operator: OperatorLike | None = None,
    strength: float | None = None,
    positions: Positions | None = None,
    prompt_length: PromptLength | None = None,
    trace: bool = False,
) -> AbstractContextManager[Written]:
    """Change units, add a language's vectors, or intervene, in every forward pass inside the `with`.

    The weights are not touched, and after the `with` the model is bit-identical to before. Calls can be
    nested: the inner one sees the values that the outer one wrote, so if both set a unit, the inner one wins.

    Args:
        model: The model that is called inside the `with`, also by `generate`.
        what: Units, of one label, or of several labels that share no unit; or a language's vectors; or an
            `Intervention`.
        operator: For units: `set` (the default) to strength · value, `add` strength · value, `scale` by the
            strength, `dampen` by the factors that `aura` found, or `zero`. For vectors: `add` (the default)
            strength · vector, `project` the vector away, `project_add` strength · vector in place of what lay
            along it, or `add_keep_norm`, which adds and keeps each token's norm. An `Operator` defines what
            it does to units and vectors. A function (values, operand) -> values gets the values [batch,
            token, unit] and, as operand, strength · value of each unit, or strength · vector. An
            `Intervention` has its own operators and takes none.
        strength: The factor; 1 if None. `scale`, which does nothing at 1, must be given one.
        positions: At which tokens, as in `write`; if None, all, or those that an `Intervention` names.
        prompt_length: Number of columns of the prompt, as in `write`: for when you call the model yourself
            with a filled cache, or to replace what `generate` was given.
        trace: Record every token that is changed.

    Returns:
        A context manager that gives what has been done so far.

    Raises:
        UnitsError: Units or vectors found in a model of another shape.
        ArgumentError: No unit, a unit twice, one that the model does not have, an operator that is not for
            units, or not for vectors, one that needs a strength, a strength too large for the values, or
            positions that cannot be known.
        ModelError: A site that the model does not have.

    Example:
        >>> units = UnitSet.from_rows([("deu_Latn", "1.inner", 7, 0.9, 2.5)])
        >>> with steer(model, units, operator="zero") as done:
        ...     _ = model(**batch)
        >>> done.tokens
        10
    """
    if positions is None:
        positions = what.positions if isinstance(what, Intervention) else "all"
    check_positions(positions)
    edits = edits_of(what, operator, strength)
    return _steered(
        model, edits, what.provenance, positions=positions, prompt_length=prompt_length, trace=trace
    )


def edits_of(
    what: UnitSet | LanguageVector | Intervention,
    operator: OperatorLike | None = None,
    strength: float | None = None,
) -> Mapping[Site, Edit]:
    """Return the edit of each site that `steer` makes of units, vectors or an intervention.

    Args:
        what: As for `steer`.
        operator: As for `steer`.
        strength: As for `steer`.

    Raises:
        ArgumentError: As `steer`.

    Example:
        >>> units = UnitSet.from_rows([("deu_Latn", "1.inner", 7, 0.9, 2.5)])
        >>> edits_of(units, "zero")[Site("inner", 1)].units
        [7]
    """
    if strength is not None:
        number("strength", strength)
    if isinstance(what, UnitSet):
        return _edits_of_units(what, operator, strength)
    if isinstance(what, LanguageVector):
        return _edits_of_vectors(what, operator, strength)
    if not isinstance(what, Intervention):
        raise ArgumentTypeError(
            f"what must be a UnitSet, a LanguageVector or an Intervention, not {type(what).__name__}"
        )
    if operator is not None:
        raise ArgumentError(f"operator={operator!r:.60}: intervention {what.name!r} has its own; give none")
    return what.edits(1.0 if strength is None else strength)


@contextmanager
def _steered(
    model: nn.Module, edits: Mapping[Site, Edit], provenance: Mapping[str, Any], **options: Any
) -> Iterator[Written]:
    check_compatible(provenance, map_model(model))
    with write(model, edits, **options) as written:
        yield written


def _operand(operator: Operator, make: OperandFn, values: Tensor, strength: float | None, site: Site) -> Any:
    """Return the operand that an operator makes of values and strength."""
    if strength is None and operator.needs_strength:
        raise ArgumentError(
            f"operator={operator.name!r} needs a strength: at 1, the default, it does nothing; give strength="
        )
    factor = 1.0 if strength is None else float(strength)
    with errors_of(f"operator {operator.name!r}, asked for the operand at site {site},"):
        operand = make(values, factor)
    if isinstance(operand, Tensor) and not bool(operand.isfinite().all()):
        raise ArgumentError(
            f"strength={factor:g} is too large: times the values for site {site} it is more than "
            f"{operand.dtype} can hold"
        )
    return operand


def _edits_of_units(units: UnitSet, given: OperatorLike | None, strength: float | None) -> dict[Site, Edit]:
    """Return the edit of each site of a unit set."""
    known = {name: one for name, one in OPERATORS.items() if one.of_units is not None}
    operator = DEFAULT_FOR_UNITS if given is None else resolve_operator(given, known)
    if operator.of_units is None:
        raise _not_for("units", "of_units", operator, known)
    _check_meaning_of_values(units, operator)
    if not len(units):
        raise ArgumentError("units is empty; there is nothing to steer with")
    if first_repeated(units.columns) is not None:
        raise ArgumentError(
            f"the labels {', '.join(units.labels)} share units, which cannot be given two values at once; "
            "take one label, units['deu_Latn'], or nest two"
        )
    edits = {}
    for site, rows in units.by_site().items():
        values = torch.tensor(rows.columns.value, dtype=torch.float32)
        operand = _operand(operator, operator.of_units, values, strength, site)
        edits[site] = Edit(operator, operand, Indices(rows.columns.index))
    return edits


def _check_meaning_of_values(units: UnitSet, operator: Operator) -> None:
    """Raise an error where an operator takes the units' values for something else than they are."""
    settings = dict(units.provenance.get("settings") or {})
    found_in, are_factors = settings.get("state", "value"), settings.get("value") == FACTORS
    if are_factors and operator.writes_unit_values:
        raise ArgumentError(
            f"what holds factors, not values, and {operator.name!r} writes values: give operator='dampen', "
            "or scale or zero the units"
        )
    if settings and operator.takes_factors and not are_factors:
        raise ArgumentError(
            f"what holds values, not factors, and {operator.name!r} multiplies by factors: find the units "
            "with method='aura', or give operator='scale' and a strength"
        )
    if operator.writes_unit_values and found_in != "value":
        raise ArgumentError(
            f"what holds values of the state {found_in!r}, and {operator.name!r} writes plain values: find "
            "the units with state='value', or scale or zero them"
        )


def _edits_of_vectors(
    vectors: LanguageVector, given: OperatorLike | None, strength: float | None
) -> dict[Site, Edit]:
    """Return the edit of each site of a language's vectors."""
    known = {name: one for name, one in OPERATORS.items() if one.of_vector is not None}
    operator = DEFAULT_FOR_VECTORS if given is None else resolve_operator(given, known)
    if operator.of_vector is None:
        raise _not_for("vectors", "of_vector", operator, known)
    if vectors.state != "value":
        raise ArgumentError(
            f"what holds means of the state {vectors.state!r}, which cannot be added to values; give vectors "
            "of state='value', or subtract these from pooled states with measure(..., subtract=)"
        )
    return {
        site: Edit(operator, _operand(operator, operator.of_vector, vector, strength, site))
        for site, vector in vectors.vectors.items()
    }


def _not_for(what: str, field: str, operator: Operator, known: dict[str, Operator]) -> ArgumentError:
    return ArgumentError(
        f"operator={operator.name!r} is not for {what}: its {field} is None; choose from {', '.join(known)}, "
        f"or give an Operator with {field}="
    )
