"""`OperandKind`: what an operator takes beside the values, and how that is checked and prepared."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.model.architectures.sites import Site

Operand = float | Tensor | tuple[Any, Any]


@dataclass(frozen=True, slots=True)
class OperandKind:
    """A kind of operand, as three functions.

    Attributes:
        check: (operator's name, operand) -> None. Called when an `Edit` is made; raises an `ArgumentError` or
            `ArgumentTypeError` for an operand that fits no site at all.
        check_width: (site, operand, number of units changed there) -> None. Called before the model runs;
            raises an `ArgumentError` for an operand of another width.
        prepare: (operand, values, site) -> operand. Called in every forward with the values [batch, token,
            unit] that are about to change; returns the operand that the operator's function is given, on
            their device.
        is_needed: Whether there is an operand at all.
        pick: (prepared operand, numbers of units) -> the operand of these units alone. None where units
            cannot be told apart: then its operators cannot act at the experts of a mixture, where a token has
            values for the units of a few experts only.
        repeat: (operand, copies, rows of the forward) -> the operand for a forward that has several rows of
            each sentence, as beam search does. None where an operand belongs to no sentence.
        once: Whether `prepare` gives the same in every forward on one device and in one data type. It is then
            not called anew for each forward, which saves a transfer and a wait.
    """

    check: Callable[[str, Any], None]
    check_width: Callable[[Site, Any, int], None]
    prepare: Callable[[Any, Tensor, Site], Any]
    is_needed: bool = True
    pick: Callable[[Any, Tensor], Any] | None = None
    repeat: Callable[[Any, int, int], Any] | None = None
    once: bool = False


def _check_nothing(name: str, value: Any) -> None:
    if value is not None:
        raise ArgumentError(f"operator {name!r} takes no value; got value={value!r:.60}")


def _check_given(name: str, value: Any) -> None:
    if value is None:
        raise ArgumentError(f"operator {name!r} needs a value; got value=None")


def _is_number_or_tensor(value: object) -> bool:
    return isinstance(value, int | float | Tensor) and not isinstance(value, bool)


def _check_per_unit(name: str, value: Any) -> None:
    _check_given(name, value)
    if not _is_number_or_tensor(value):
        raise ArgumentTypeError(
            f"value={value!r:.60} must be a number or a tensor of one value per unit, as operator {name!r} "
            "takes it"
        )
    _check_finite(name, value)


def _check_finite(name: str, value: Any) -> None:
    if not bool(_wide(value).isfinite().all()):
        raise ArgumentError(f"value={value!r:.60} of operator {name!r} must be finite")


def _wide(value: Any) -> Tensor:
    """Return an operand as a tensor; a number in float64, which holds all of Python's."""
    return value if isinstance(value, Tensor) else torch.tensor(float(value), dtype=torch.float64)


def _check_width_per_unit(site: Site, value: Any, units: int) -> None:
    if isinstance(value, Tensor) and value.dim() and value.shape != (units,):
        raise ArgumentError(
            f"value for site {site} has shape {tuple(value.shape)}; give one number, or one per unit "
            f"({units})"
        )


def _to_values(value: Any, values: Tensor, site: Site) -> Any:
    _check_fits_dtype(value, values.dtype, site)
    return value.to(values.device, values.dtype) if isinstance(value, Tensor) else value


def _check_fits_dtype(value: Any, dtype: torch.dtype, site: Site) -> None:
    """Raise an error where an operand would become infinite in the data type of the values.

    An operand that is trained on a GPU is not looked at, because it is prepared in every forward: that would
    mean to wait for the GPU. The values that it makes are looked at, at the end of the forward.
    """
    if isinstance(value, Tensor):
        is_trained = value.requires_grad and torch.is_grad_enabled()
        if value.dtype == dtype or (is_trained and value.device.type != "cpu"):
            return
    largest = float(value.detach().abs().max()) if isinstance(value, Tensor) else abs(float(value))
    if largest > torch.finfo(dtype).max:
        raise ArgumentError(
            f"value for site {site} reaches {largest:g}, and {dtype} ends at {torch.finfo(dtype).max:g}; "
            "take a smaller strength, or load the model in a wider dtype"
        )


def _check_scale_and_shift(name: str, value: Any) -> None:
    _check_given(name, value)
    if not isinstance(value, tuple | list) or len(value) != 2 or not all(map(_is_number_or_tensor, value)):
        raise ArgumentTypeError(
            f"{name} takes (scale, shift), each a number or a tensor of one value per unit, not {value!r:.60}"
        )
    for one in value:
        _check_finite(name, one)


def _check_width_of_both(site: Site, value: Any, units: int) -> None:
    for one in value:
        _check_width_per_unit(site, one, units)


def _both_to_values(value: Any, values: Tensor, site: Site) -> tuple[Any, Any]:
    scale, shift = (_to_values(one, values, site) for one in value)
    return scale, shift


def _check_map(name: str, value: Any) -> None:
    _check_given(name, value)
    parts: Any = value if isinstance(value, tuple | list) and len(value) == 2 else ()
    fits = (
        bool(parts) and _is_float_tensor(parts[0], 2) and (parts[1] is None or _is_float_tensor(parts[1], 1))
    )
    if not fits:
        raise ArgumentTypeError(
            f"{name} takes (matrix [unit, unit], bias [unit] or None), tensors of floats, not {value!r:.60}"
        )
    for one in parts:
        if one is not None:
            _check_finite(name, one)


def _is_float_tensor(value: object, axes: int) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.dim() == axes


def _check_width_of_map(site: Site, value: Any, units: int) -> None:
    matrix, bias = value
    if matrix.shape != (units, units) or (bias is not None and bias.shape != (units,)):
        raise ArgumentError(
            f"value for site {site} has a matrix of shape {tuple(matrix.shape)}"
            + ("" if bias is None else f" and a bias of shape {tuple(bias.shape)}")
            + f"; give a matrix of ({units}, {units}), and a bias of ({units},) or None"
        )


def _map_to_wide(value: Any, values: Tensor, site: Site) -> list[Tensor | None]:
    wide = torch.promote_types(values.dtype, torch.float32)
    found: list[Tensor | None] = []
    for one in value:
        if one is not None:
            _check_fits_dtype(one, wide, site)
        found.append(None if one is None else one.to(values.device, wide))
    return found


def _check_bounds(name: str, value: Any) -> None:
    _check_given(name, value)
    if not isinstance(value, tuple | list) or len(value) != 2 or all(bound is None for bound in value):
        raise ArgumentTypeError(f"{name} takes (low, high), either of which may be None, not {value!r:.60}")
    if not all(bound is None or _is_number_or_tensor(bound) for bound in value):
        raise ArgumentTypeError(f"the bounds {value!r:.60} must be numbers or tensors of one value per unit")
    low, high = value
    if any(bound is not None and bool(torch.as_tensor(bound).isnan().any()) for bound in value):
        raise ArgumentError(f"the bounds {value!r:.60} must not be NaN")
    if low is not None and high is not None and bool((torch.as_tensor(low) > torch.as_tensor(high)).any()):
        raise ArgumentError(f"the lower bound {low!r:.40} is above the upper one {high!r:.40}")


def _check_width_of_bounds(site: Site, value: Any, units: int) -> None:
    for bound in value:
        _check_width_per_unit(site, bound, units)


def _bounds_to_values(value: Any, values: Tensor, site: Site) -> list[Tensor | None]:  # noqa: ARG001
    # Both as tensors: torch.clamp does not take a number beside a tensor.
    return [None if bound is None else torch.as_tensor(bound).to(values) for bound in value]


def _check_tensor(name: str, value: Any, axes: str) -> None:
    _check_given(name, value)
    if not isinstance(value, Tensor) or value.dim() != len(axes.split(",")):
        raise ArgumentTypeError(f"{name} takes a tensor [{axes}], not {value!r:.60}")
    _check_finite(name, value)


def _check_direction(name: str, value: Any) -> None:
    _check_tensor(name, value, "unit")
    if not bool(value.any()):
        raise ArgumentError(f"{name} takes a direction, and this one is zero")


def _check_rows(name: str, value: Any) -> None:
    _check_tensor(name, value, "sentence, unit")


def _check_last_axis(site: Site, value: Any, units: int) -> None:
    if value.shape[-1] != units:
        raise ArgumentError(
            f"value for site {site} has shape {tuple(value.shape)}; give a vector of ({units}) numbers, "
            "one per unit"
        )


def _to_float32(value: Any, values: Tensor, site: Site) -> Any:
    _check_fits_dtype(value, torch.float32, site)
    return value.to(values.device, torch.float32)


def _nothing(*_: object) -> None:
    """Do nothing; a lambda could not be pickled."""


def _rows_to_values(value: Any, values: Tensor, site: Site) -> Any:
    if len(value) != len(values):
        raise ArgumentError(
            f"value for site {site} has vectors of {len(value)} sentences, and the forward has "
            f"{len(values)}; give one row per sentence of the batch"
        )
    _check_fits_dtype(value, values.dtype, site)
    return value.to(values.device, values.dtype)


def _pick_per_unit(value: Any, units: Tensor) -> Any:
    return value[units] if isinstance(value, Tensor) and value.dim() else value


def _pick_each(value: Any, units: Tensor) -> list[Any]:
    return [_pick_per_unit(one, units) for one in value]


def _repeat_rows(value: Any, copies: int, rows: int) -> Any:
    return value.repeat_interleave(copies, dim=0) if len(value) * copies == rows else value


NOTHING = OperandKind(_check_nothing, _nothing, _nothing, is_needed=False, pick=_nothing)
"""No operand; the function is given None."""
PER_UNIT = OperandKind(_check_per_unit, _check_width_per_unit, _to_values, pick=_pick_per_unit, once=True)
"""A number, or a tensor [unit]; a tensor arrives in the dtype of the values."""
BOUNDS = OperandKind(_check_bounds, _check_width_of_bounds, _bounds_to_values, pick=_pick_each, once=True)
"""(low, high), each a number, a tensor [unit], or None for no bound; they arrive as tensors, or None."""
DIRECTION = OperandKind(_check_direction, _check_last_axis, _to_float32, once=True)
"""A tensor [unit] that is not zero. It arrives in float32, where its square neither over- nor underflows."""
PER_SENTENCE = OperandKind(_check_rows, _check_last_axis, _rows_to_values, repeat=_repeat_rows)
"""A tensor [sentence, unit], a row for each sentence of the batch; it arrives in the dtype of the values."""
SCALE_AND_SHIFT = OperandKind(
    _check_scale_and_shift, _check_width_of_both, _both_to_values, pick=_pick_each, once=True
)
"""(scale, shift), each a number or a tensor [unit]; tensors arrive in the dtype of the values."""
MAP = OperandKind(_check_map, _check_width_of_map, _map_to_wide, once=True)
"""(matrix [unit, unit], bias [unit] or None); they arrive in float32, or in float64 for such values."""
