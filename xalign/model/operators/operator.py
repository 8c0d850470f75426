"""`Operator`: a change of a site's values, with everything that others must know of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from xalign.checks import function_of
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.model.operators.operands import PER_UNIT, OperandKind

OperatorFn = Callable[[Tensor, Any], Tensor]
OperandFn = Callable[[Tensor, float], Any]


def times_strength(values: Tensor, strength: float) -> Tensor:
    """Return strength · values."""
    return strength * values


@dataclass(frozen=True, slots=True)
class Operator:
    """A change of values, beside the function that makes it. One line in `OPERATORS` makes it known by name.

    A plain function passed as an operator becomes `Operator(name of the function, function)`.

    Attributes:
        name: What users type, and what errors call it.
        fn: (values, operand) -> new values. The values have shape [batch, token, unit] and hold the units
            to change; new values have the same shape, dtype and device. The function must not change the
            values in place: tokens at other positions keep theirs.
        operand: The kind of its operand: `PER_UNIT`, `BOUNDS`, `DIRECTION`, `PER_SENTENCE` or `NOTHING`, all
            in `xalign.model.operators.operands`, or an `OperandKind` of your own.
        of_units: How `steer` makes the operand for a unit set: from the units' values [unit] at one site and
            the strength. None where the operator is not for units.
        of_vector: How `steer` makes the operand for a language vector: from the vector [unit] of one site and
            the strength. None where the operator is not for vectors.
        writes_unit_values: Whether `of_units` uses the units' values. `steer` then refuses units whose values
            are not plain values of the site (`state="value"`), such as activated ones.
        takes_factors: Whether `of_units` takes the units' values for factors, as `aura` finds them. `steer`
            then refuses units that were found with other values, and the other way round.
        needs_strength: Whether `steer` must be given a strength, because the operator does nothing at 1.
        is_finite: Whether new values are finite whatever the old ones were, if the operand is. They are then
            not looked at.
        is_linear: Whether a token's new values are an affine function of its old ones: fn(x) = A x + b, up to
            rounding, where A [unit, unit] and b [unit] depend on the operand alone and are the same for every
            token of every sentence. Such a change can be folded into weights and a bias. `clamp` is not
            linear; neither is `replace`, which has a different b for each sentence.

    Raises:
        ArgumentTypeError: A name that is not text, or functions that are not callable.

    Example:
        >>> from xalign.model.write import Edit, write
        >>> flip = Operator("flip", lambda values, operand: operand - values, is_linear=True)
        >>> with write(model, {Site("inner", 0): Edit(flip, 1.0, units=[3])}) as done:
        ...     _ = model(**batch)
        >>> done.tokens
        10
    """

    name: str
    fn: OperatorFn
    operand: OperandKind = PER_UNIT
    of_units: OperandFn | None = times_strength
    of_vector: OperandFn | None = times_strength
    writes_unit_values: bool = True
    takes_factors: bool = False
    is_linear: bool = False
    needs_strength: bool = False
    is_finite: bool = False

    def __post_init__(self) -> None:
        """Check types."""
        if not isinstance(self.name, str) or not self.name:
            raise ArgumentTypeError(f"name={self.name!r:.60} must be text, like 'flip'")
        if not callable(self.fn):
            raise ArgumentTypeError(
                f"operator {self.name!r}: fn must be a function (values, operand) -> values, not "
                f"{self.fn!r:.60}"
            )
        if not isinstance(self.operand, OperandKind):
            raise ArgumentTypeError(
                f"operator {self.name!r}: operand must be an OperandKind, like PER_UNIT, not "
                f"{self.operand!r:.60}"
            )
        for which in ("of_units", "of_vector"):
            if getattr(self, which) is not None and not callable(getattr(self, which)):
                raise ArgumentTypeError(
                    f"operator {self.name!r}: {which} must be a function (values, strength) -> operand, or "
                    f"None, not {getattr(self, which)!r:.60}"
                )


OperatorLike = str | Operator | OperatorFn


def resolve_operator(operator: object, known: Mapping[str, Operator]) -> Operator:
    """Return the operator meant by a name, an `Operator`, or a plain function (values, operand) -> values.

    Args:
        operator: What the user gave.
        known: Name -> operator, for names.

    Raises:
        ArgumentError: Another name, or none of these.
    """
    if isinstance(operator, Operator):
        return operator
    if isinstance(operator, str) and operator in known:
        return known[operator]
    if callable(operator):
        function_of("operator", operator, "values", "operand")
        return Operator(getattr(operator, "__name__", type(operator).__name__), operator)
    raise ArgumentError(
        f"operator={operator!r:.60} must be one of {', '.join(known)}, an Operator, or a function (values, "
        "operand) -> values"
    )
