"""`Edit`: a change of values at a site; and what a `write` has done."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from xalign.checks import whole_number
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.model.indices import Indices
from xalign.model.operators import OPERATORS, Operator, OperatorLike, resolve_operator
from xalign.model.operators.operands import Operand


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of values at a site.

    Attributes:
        operator: The name of one of `OPERATORS`: `set`, `add` and `scale` by a value; `zero`; `clamp` between
            two bounds; `project` away what lies along a direction; `replace` by a vector of each sentence;
            `affine`, a scale and a shift per unit; `transform` by a matrix. Or an `Operator`, or a function
            (values, operand) -> values.
        value: The operator's operand: a number, or a tensor with one value per unit; for `clamp` two such,
            where None is no bound; for `project` a direction [unit]; for `replace` a tensor [sentence, unit];
            for `affine` (scale, shift), each as for `set`; for `transform` (matrix [unit, unit], bias [unit]
            or None), which makes x W + b of values x; nothing for `zero`.
        units: Indices of the coordinates that change; all of the site where None.

    Raises:
        ArgumentError: An unknown operator, a value that is missing or not wanted, or units that are empty or
            repeated.
        ArgumentTypeError: A value or units of the wrong type.

    Example:
        >>> Edit("clamp", (0.0, None), units=[3, 7])
        Edit(operator='clamp', value=(0.0, None), units=[3, 7])
    """

    operator: OperatorLike
    value: Operand | None = None
    units: Sequence[int] | None = None

    def __post_init__(self) -> None:
        """Check the operand, and make an array of the units."""
        operator = self.resolved
        operator.operand.check(operator.name, self.value)
        if self.units is not None:
            object.__setattr__(self, "units", _checked_units(self.units))

    @property
    def indices(self) -> Tensor | None:
        """The units as a tensor; None for all of the site."""
        return self.units.tensor() if isinstance(self.units, Indices) else None

    @property
    def resolved(self) -> Operator:
        """The operator as an object."""
        return resolve_operator(self.operator, OPERATORS)


def _checked_units(units: object) -> Indices:
    if isinstance(units, Indices):
        return units
    if not isinstance(units, Iterable):
        raise ArgumentTypeError(f"units={units!r:.60} must be a list of indices, or None")
    array = units.numpy(force=True) if isinstance(units, Tensor) else units
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iu" or array.ndim != 1:
        listed = np.atleast_1d(array).tolist() if isinstance(array, np.ndarray) else array
        array = np.array([whole_number("units", unit, least=None) for unit in listed], np.int64)
    if not len(array) or len(np.unique(array)) != len(array):
        raise ArgumentError(f"units={array[:8].tolist()!r} must be different indices, at least one")
    return Indices(array)


@dataclass(frozen=True, slots=True)
class Changed:
    """A token that was changed.

    Attributes:
        forward: Index of the forward inside the `with`, from 0.
        sentence: Its row in the batch.
        column: Its position in the sequence; padding and cached tokens count.
        token: Its id; None where the model was given embeddings.
    """

    forward: int
    sentence: int
    column: int
    token: int | None


@dataclass
class Written:
    """What a `write` did.

    Attributes:
        forwards: Number of forwards inside the `with`.
        tokens: Number of tokens changed, over all forwards.
        trace: The tokens changed, where `trace=True` asked for them.
    """

    forwards: int = 0
    tokens: int = 0
    trace: list[Changed] = field(default_factory=list)
