"""`write`: changes the values at some sites while the model runs, and leaves no trace."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from xalign.checks import whole_number
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.architectures.map import map_model
from xalign.model.architectures.sites import Site
from xalign.model.positions import Positions, PromptTracker, check_positions, chosen
from xalign.model.visit import VisitFn, visit

Operator = Literal["set", "add", "scale", "zero", "clamp", "project", "replace"]
Operand = float | Tensor | tuple[Any, Any]

OPERATORS: dict[Operator, Callable[[Tensor, Any], Tensor]] = {
    "set": lambda values, operand: torch.zeros_like(values) + operand,
    "add": lambda values, operand: values + operand,
    "scale": lambda values, operand: values * operand,
    "zero": lambda values, operand: torch.zeros_like(values),  # noqa: ARG005
    "clamp": lambda values, bounds: values.clamp(*bounds),
    "project": lambda values, axis: _without(values, axis),
    "replace": lambda values, rows: rows.unsqueeze(1).expand_as(values),
}


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of values at a site.

    Attributes:
        operator: `set`, `add` and `scale` by a value; `zero`; `clamp` between two; `project` away what lies
            along a direction; `replace` by a vector of each sentence.
        value: A number, or a tensor with one value per unit; for `clamp` two such, or None for no bound;
            for `project` a direction [unit]; for `replace` a tensor [sentence, unit]; nothing for `zero`.
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
        if self.operator == "clamp":
            self._check_bounds()
        elif self.operator in ("project", "replace"):
            if not isinstance(self.value, Tensor) or self.value.dim() != (
                1 if self.operator == "project" else 2
            ):
                shape = "[unit]" if self.operator == "project" else "[sentence, unit]"
                raise ArgumentTypeError(f"{self.operator} takes a tensor {shape}, not {self.value!r:.60}")
            if self.operator == "project" and not bool(self.value.any()):
                raise ArgumentError("project takes a direction, and this one is zero")
        elif self.value is not None and not _is_operand(self.value):
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

    def _check_bounds(self) -> None:
        bounds = self.value
        if not isinstance(bounds, tuple | list) or len(bounds) != 2 or all(bound is None for bound in bounds):
            raise ArgumentTypeError(
                f"clamp takes (low, high), either of which may be None, not {bounds!r:.60}"
            )
        if not all(bound is None or _is_operand(bound) for bound in bounds):
            raise ArgumentTypeError(f"the bounds {bounds!r:.60} must be numbers or tensors of one per unit")
        low, high = bounds
        if (
            low is not None
            and high is not None
            and bool((torch.as_tensor(low) > torch.as_tensor(high)).any())
        ):
            raise ArgumentError(f"the lower bound {low!r:.40} is above the upper one {high!r:.40}")

    @property
    def operands(self) -> list[Any]:
        """The numbers and tensors of the value."""
        return list(self.value) if isinstance(self.value, tuple | list) else [self.value]


@dataclass(frozen=True, slots=True)
class Changed:
    """A token that was changed.

    Attributes:
        forward: The how-manyth forward inside the `with`, from 0.
        sentence: Its row in the batch.
        column: Its place in the sequence, padding and what was in the cache included.
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
        forwards: Forwards inside the `with`.
        tokens: How many tokens were changed, over all forwards.
        trace: Which, if asked for.
    """

    forwards: int = 0
    tokens: int = 0
    trace: list[Changed] = field(default_factory=list)


@takes_layout
@contextmanager
def write(
    model: nn.Module,
    edits: Mapping[Site, Edit],
    *,
    positions: Positions = "all",
    trace: bool = False,
) -> Iterator[Written]:
    """Changes values at sites in every forward inside the `with`, at all real tokens or at some.

    The weights are not touched: after the `with`, also after an exception, the model is what it was, to the
    bit. Writes nest: the inner one sees what the outer one put.

    Under `generate` the prompt is what the first call carries and the tokens after it are generated, with and
    without a cache, in batches padded on either side, with beams. Elsewhere every token is prompt, but where
    a forward carries the sequence of the one before and more: then what is more counts as generated.

    Args:
        model: The model that is called inside the `with`.
        edits: Site -> change.
        positions: `"all"`, `"prompt"`, `"generated"`, `"last_prompt"` (each sentence's last real token of the
            prompt); a boolean mask [sentence, column] over the sequence, False beyond its end; or a function
            from `Tokens` to a boolean tensor [sentence, token]. Padding is never changed.
        trace: Notes every token changed.

    Yields:
        What has been done so far.

    Raises:
        ArgumentError: A unit that the site does not have, a value whose length is not that of the units, or,
            at the end, positions that no token had.

    Example:
        >>> with write(model, {Site("inner", 0): Edit("zero", units=[3, 7])}, positions="prompt") as done:
        ...     without_two_neurons = model(**batch)
        >>> done.tokens
        10
    """
    if not isinstance(edits, Mapping) or not all(isinstance(edit, Edit) for edit in edits.values()):
        raise ArgumentTypeError(f"edits must map xalign.Site to Edit, not be {edits!r:.80}")
    check_positions(positions)
    model_map = map_model(model)
    pen = _EditSession(model, positions, trace)
    fns: dict[Site, VisitFn] = {}
    for site, edit in edits.items():
        if not isinstance(site, Site):
            raise ArgumentTypeError(f"edits must map xalign.Site to Edit, not {site!r:.60}; see Site.parse")
        _check_fits(site, edit, model_map.place(site).width)
        fns[site] = pen.writer(site, edit)
    with visit(model, fns, on_forward=pen.follow):
        yield pen.written
    if pen.written.forwards and not pen.written.tokens:
        raise ArgumentError(
            f"positions={positions!r:.60} matched no token in {pen.written.forwards} forward(s), so nothing "
            "was changed; 'generated' needs generate, and a mask must hold True at real tokens"
        )


class _EditSession:
    """Knows which tokens of the forward under way are to be changed, and changes them."""

    def __init__(self, model: nn.Module, positions: Positions, trace: bool) -> None:
        self.written = Written()
        self._model, self._positions, self._trace = model, positions, trace
        self._course = PromptTracker()
        self._mask: Bool[Tensor, "batch token"]

    def follow(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        tokens = self._course.follow(self._model, args, kwargs)
        self._mask = chosen(self._positions, tokens)
        if self._trace:
            for sentence, place in self._mask.nonzero().tolist():
                token = None if tokens.ids is None else int(tokens.ids[sentence, place])
                column = int(tokens.column[place])
                self.written.trace.append(Changed(self.written.forwards, sentence, column, token))
        self.written.tokens += int(self._mask.sum())
        self.written.forwards += 1

    def writer(self, site: Site, edit: Edit) -> VisitFn:
        change = OPERATORS[edit.operator]
        units = slice(None) if edit.units is None else list(edit.units)

        def put(values: Float[Tensor, "batch token width"]) -> Float[Tensor, "batch token width"]:
            # A direction stays in float32, where its square neither over- nor underflows.
            dtype = torch.float32 if edit.operator == "project" else values.dtype
            operands = [
                one.to(values.device, dtype) if isinstance(one, Tensor) else one for one in edit.operands
            ]
            if edit.operator == "replace" and len(operands[0]) != len(values):
                raise ArgumentError(
                    f"replace at site {site} has vectors of {len(operands[0])} sentences, and the forward "
                    f"has {len(values)}"
                )
            picked = values[..., units]
            changed = change(picked, _bounds(operands, values) if edit.operator == "clamp" else operands[0])
            changed = torch.where(self._mask.to(values.device).unsqueeze(-1), changed, picked)
            if edit.units is None:
                return changed
            new = values.clone()
            new[..., units] = changed
            return new

        return put


def _without(values: Tensor, axis: Tensor) -> Tensor:
    """The values without what lies along an axis."""
    unit, wide = axis / axis.norm(), values.float()
    without: Tensor = wide - (wide @ unit).unsqueeze(-1) * unit
    return without.to(values.dtype)


def _bounds(operands: list[Any], values: Tensor) -> list[Tensor | None]:
    """Both bounds as tensors: `clamp` takes no number beside a tensor."""
    return [None if bound is None else torch.as_tensor(bound).to(values) for bound in operands]


def _is_operand(value: object) -> bool:
    return isinstance(value, int | float | Tensor) and not isinstance(value, bool)


def _check_fits(site: Site, edit: Edit, width: int) -> None:
    """An error where an edit names units that a site has not, or its value is not of their number."""
    units = range(width) if edit.units is None else edit.units
    outside = [unit for unit in units if not 0 <= unit < width]
    if outside:
        raise ArgumentError(f"units {outside[:8]} are outside site {site}, which has {width} units from 0")
    per_unit = edit.operator in ("project", "replace")
    for value in edit.operands:
        if isinstance(value, Tensor) and value.shape[-1:] != (len(units),) and (per_unit or value.dim()):
            raise ArgumentError(
                f"value for site {site} has shape {tuple(value.shape)}; give "
                f"{'a vector of' if per_unit else 'one number, or one per unit'} ({len(units)})"
            )
        if isinstance(value, Tensor) and not per_unit and value.dim() > 1:
            raise ArgumentError(
                f"value for site {site} has shape {tuple(value.shape)}; give one number, or one per unit "
                f"({len(units)})"
            )
