"""`write`: change the values at some sites while the model runs, and leave no trace."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from xalign.checks import whole_number
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.architectures.map import ModelMap, map_model
from xalign.model.architectures.sites import Site
from xalign.model.operators import OPERATORS, Operator, OperatorLike, resolve_operator
from xalign.model.operators.operands import Operand
from xalign.model.positions import Positions, PromptTracker, check_positions, chosen
from xalign.model.visit import VisitFn, visit
from xalign.renamed import renamed


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of values at a site.

    Attributes:
        operator: The name of one of `OPERATORS`: `set`, `add` and `scale` by a value; `zero`; `clamp` between
            two bounds; `project` away what lies along a direction; `replace` by a vector of each sentence. Or
            an `Operator`, or a function (values, operand) -> values.
        value: The operator's operand: a number, or a tensor with one value per unit; for `clamp` two such,
            where None is no bound; for `project` a direction [unit]; for `replace` a tensor [sentence, unit];
            nothing for `zero`.
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
        """Check the operand, and make a list of the units."""
        operator = self.resolved
        operator.operand.check(operator.name, self.value)
        if self.units is not None:
            object.__setattr__(self, "units", _checked_units(self.units))

    @property
    def resolved(self) -> Operator:
        """The operator as an object."""
        return resolve_operator(self.operator, OPERATORS)


def _checked_units(units: object) -> list[int]:
    if not isinstance(units, Iterable):
        raise ArgumentTypeError(f"units={units!r:.60} must be a list of indices, or None")
    to_list = getattr(units, "tolist", None)  # of a tensor or an array
    listed = [whole_number("units", unit, least=None) for unit in (to_list() if to_list else units)]
    if not listed or len(set(listed)) != len(listed):
        raise ArgumentError(f"units={listed[:8]!r} must be different indices, at least one")
    return listed


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


@takes_layout
@contextmanager
def write(
    model: nn.Module,
    edits: Mapping[Site, Edit],
    *,
    positions: Positions = "all",
    trace: bool = False,
) -> Iterator[Written]:
    """Change values at sites in every forward inside the `with`, at all real tokens or at some.

    The weights are not touched: after the `with`, also after an exception, the model is what it was, to the
    bit. Writes nest: the inner one sees the values that the outer one wrote.

    Under `generate` the prompt is what the first call carries, and the tokens after it are generated; this
    holds with and without a cache, for batches padded on either side, and with beams. Elsewhere every token
    is prompt, unless a forward carries the sequence of the forward before it and more: the tokens added count
    as generated.

    Args:
        model: The model that is called inside the `with`.
        edits: Site -> change.
        positions: `"all"`, `"prompt"`, `"generated"`, `"last_prompt"` (each sentence's last real token of the
            prompt); a boolean mask [sentence, column] over the sequence, False beyond its end; or a function
            from `Tokens` to a boolean tensor [sentence, token]. Padding is never changed.
        trace: Record every token that is changed.

    Yields:
        What has been done so far.

    Raises:
        ArgumentError: A unit that the site does not have, a value whose length is not that of the units, an
            operator that returns another shape or dtype, or, at the end, positions that matched no token.

    Example:
        >>> with write(model, {Site("inner", 0): Edit("zero", units=[3, 7])}, positions="prompt") as done:
        ...     without_two_neurons = model(**batch)
        >>> done.tokens
        10
    """
    check_positions(positions)
    _check_edits(edits, map_model(model))
    session = _EditSession(model, positions, trace)
    fns = {site: session.editor(site, edit) for site, edit in edits.items()}
    with visit(model, fns, on_forward=session.begin_forward):
        yield session.written
    if session.written.forwards and not session.written.tokens:
        raise ArgumentError(
            f"positions={positions!r:.60} matched no token in {session.written.forwards} forward(s), so "
            "nothing was changed; 'generated' needs generate, and a mask must hold True at real tokens"
        )


class _EditSession:
    """Works out which tokens of the current forward are to change, and changes them."""

    def __init__(self, model: nn.Module, positions: Positions, trace: bool) -> None:
        self.written = Written()
        self._model, self._positions, self._trace = model, positions, trace
        self._tracker = PromptTracker()
        self._mask: Bool[Tensor, "batch token"]

    def begin_forward(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        tokens = self._tracker.follow(self._model, args, kwargs)
        self._mask = chosen(self._positions, tokens)
        if self._trace:
            for sentence, place in self._mask.nonzero().tolist():
                token = None if tokens.ids is None else int(tokens.ids[sentence, place])
                column = int(tokens.column[place])
                self.written.trace.append(Changed(self.written.forwards, sentence, column, token))
        self.written.tokens += int(self._mask.sum())
        self.written.forwards += 1

    def editor(self, site: Site, edit: Edit) -> VisitFn:
        operator = edit.resolved
        units = slice(None) if edit.units is None else list(edit.units)

        def change(values: Float[Tensor, "batch token width"]) -> Float[Tensor, "batch token width"]:
            picked = values[..., units]
            operand = operator.operand.prepare(edit.value, picked, site)
            changed = _applied(operator, picked, operand, site)
            changed = torch.where(self._mask.to(values.device).unsqueeze(-1), changed, picked)
            if edit.units is None:
                return changed
            new = values.clone()
            new[..., units] = changed
            return new

        return change


def _applied(operator: Operator, values: Tensor, operand: Any, site: Site) -> Tensor:
    """Return what an operator makes of the values, checked: it may be a user's own."""
    if values.is_inference():  # such tensors count no changes
        with torch.inference_mode(False):
            values = values.clone()
    version = values._version
    new = operator.fn(values, operand)
    where = f"operator {operator.name!r} at site {site}"
    if not isinstance(new, Tensor):
        raise ArgumentTypeError(f"{where} must return a tensor, not {type(new).__name__}")
    for name in ("shape", "dtype", "device"):
        if getattr(new, name) != getattr(values, name):
            raise ArgumentError(
                f"{where} returned {name} {getattr(new, name)}, and the values have {getattr(values, name)}; "
                "return a tensor of the same shape, dtype and device"
            )
    if values._version != version:
        raise ArgumentError(
            f"{where} changed the values in place, where positions may keep some of them; return a new tensor"
        )
    return new


def _check_edits(edits: object, model_map: ModelMap) -> None:
    if not isinstance(edits, Mapping) or not all(isinstance(edit, Edit) for edit in edits.values()):
        raise ArgumentTypeError(f"edits must map xalign.Site to Edit, not be {edits!r:.80}")
    for site, edit in edits.items():
        if not isinstance(site, Site):
            raise ArgumentTypeError(f"edits must map xalign.Site to Edit, not {site!r:.60}; see Site.parse")
        _check_fits(site, edit, model_map.place(site).width)


def _check_fits(site: Site, edit: Edit, width: int) -> None:
    """Raise an error where the site does not have an edit's units, or its operand is of another width."""
    units = range(width) if edit.units is None else edit.units
    outside = [unit for unit in units if not 0 <= unit < width]
    if outside:
        raise ArgumentError(f"units {outside[:8]} are outside site {site}, which has {width} units from 0")
    edit.resolved.operand.check_width(site, edit.value, len(units))


def __getattr__(name: str) -> Any:
    return renamed(__name__, name)
