"""`EditSession`: which tokens of the current forward are to change, and how their values change."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from xalign.errors import ArgumentError, ArgumentTypeError, ModelError
from xalign.model.architectures.map import ModelMap, Place
from xalign.model.architectures.sites import Site
from xalign.model.edit import Changed, Edit, Written
from xalign.model.finite_check import FiniteCheck
from xalign.model.hooks import when_backward_reaches
from xalign.model.operators import Operator
from xalign.model.positions import Positions, chosen
from xalign.model.prepared_operand import PreparedOperand
from xalign.model.prompt_tracker import PromptTracker, side_of
from xalign.model.routed import Routed
from xalign.model.routed_edit import RoutedEdit
from xalign.model.tokens import Tokens, Unknown
from xalign.model.user_function import errors_of
from xalign.model.visit import VisitFn

Mask = Bool[Tensor, "batch token"]


@dataclass(frozen=True, slots=True)
class Marked:
    """The tokens of a forward that are to change.

    Attributes:
        mask: True at them.
        is_all: Whether they are all tokens, as in most forwards of `generate`.
    """

    mask: Mask
    is_all: bool


# Of encoder and decoder; of other models, one of the side "".
Masks = dict[str, Marked]


class EditSession:
    """Works out which tokens of the current forward are to change, and changes them.

    Gradient checkpointing runs blocks again inside the backward, when other forwards may have come in
    between. The gradient enters a block at its output, so a hook there says which forward's backward has
    come to it.
    """

    def __init__(
        self, model: nn.Module, positions: Positions, tracker: PromptTracker, *, trace: bool
    ) -> None:
        self.written, self.finite = Written(), FiniteCheck()
        self._model, self._positions, self._tracker, self._trace = model, positions, tracker, trace
        self._masks: Masks = {}
        self._copies: dict[str, int] = {}
        self._in_backward: Masks | None = None
        self._has_backward = self._masks_differ = False
        self._side_of: dict[Site, str] = {}
        self._sides = {side_of(model, model)}

    def begin_forward(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Work out which tokens of the forward that begins are to change."""
        masks: Masks = {}
        copies: dict[str, int] = {}
        self._has_backward |= torch.is_grad_enabled()
        for side in sorted(self._sides):
            tokens = self._tracker.follow(self._model, args, kwargs, side)
            if tokens is None:  # this forward does not run this side
                continue
            mask = chosen(self._positions, tokens)
            copies[side] = tokens.copies
            before = self._masks.get(side)
            if self._has_backward and before is not None and not torch.equal(before.mask, mask):
                self._masks_differ = True
            self._note_trace(tokens, mask)
            count = int(mask.sum())
            masks[side] = Marked(mask, count == mask.numel())
            self.written.tokens += count
        self._masks, self._copies, self._in_backward = masks, copies, None
        self.written.forwards += 1

    def _note_trace(self, tokens: Tokens, mask: Mask) -> None:
        if not self._trace:
            return
        if isinstance(tokens.known_column, Unknown):
            raise ArgumentError(
                "give trace=False: a trace needs the position of each token, which cannot be known: "
                f"{tokens.known_column.why}"
            )
        for sentence, place in mask.nonzero().tolist():
            token = None if tokens.ids is None else int(tokens.ids[sentence, place])
            column = int(tokens.column[place])
            self.written.trace.append(Changed(self.written.forwards, sentence, column, token))

    def fns(self, edits: Mapping[Site, Edit], model_map: ModelMap) -> dict[Site, VisitFn]:
        """Return the functions of a visit that makes the edits.

        Raises:
            ArgumentError: Positions that the edited side of an encoder–decoder does not have.
        """
        self._side_of = {site: side_of(self._model, model_map.place(site).module) for site in edits}
        self._sides = set(self._side_of.values()) or self._sides
        self._tracker.check_sides(self._positions, set(self._side_of.values()))
        found = {site: self._editor(site, edit, model_map.place(site)) for site, edit in edits.items()}
        for site in edits:
            module = model_map.place(site).module
            for number, block in enumerate(model_map.blocks):
                if any(one is module for one in block.modules()):
                    found.setdefault(Site("hidden", number), self._note_backward)
        return found

    def _note_backward(self, values: Tensor) -> None:
        """Let the backward of a block of this forward say whose it is, before the block is run again."""
        masks = self._masks

        def begins() -> None:
            self._in_backward = masks

        when_backward_reaches(values, begins)

    def _marked_at(self, values: Tensor, site: Site) -> Marked:
        """Return which tokens are to change: of the forward in progress, or of the one that is run again."""
        masks = self._masks if self._in_backward is None else self._in_backward
        marked = masks.get(self._side_of[site])
        recomputes = self._in_backward is None and torch._C._current_graph_task_id() != -1
        if marked is None and not recomputes and self._side_of[site]:
            raise ModelError(
                f"site {site}: which tokens the {self._side_of[site]} is given cannot be told from the "
                "arguments of this forward; give input_ids, and for the decoder decoder_input_ids or labels"
            )
        if marked is None or (recomputes and self._masks_differ):
            raise ModelError(
                f"site {site} is run again in a backward, and it cannot be told for which of several "
                "forwards: checkpoint single blocks, or give each forward and its backward a with of its own"
            )
        if marked.mask.shape != values.shape[:2]:
            raise ModelError(
                f"site {site} has tokens of shape {tuple(values.shape[:2])}, and the forward was given "
                f"{tuple(marked.mask.shape)}: the model adds tokens, or a checkpointed forward of another "
                "shape is run again; such forwards cannot be steered"
            )
        return marked

    def _editor(self, site: Site, edit: Edit, place: Place) -> VisitFn:
        if place.experts is not None:
            return self._expert_editor(site, edit, place.width // place.experts.count, place.experts.count)
        operator, indices, prepared = edit.resolved, edit.indices, PreparedOperand(edit, site)

        def change(values: Float[Tensor, "batch token width"]) -> Float[Tensor, "batch token width"]:
            nonlocal indices
            marked = self._marked_at(values, site)
            units: slice | Tensor = slice(None)
            if indices is not None:
                units = indices = indices.to(values.device)
            picked = values[..., units]
            operand = prepared(self._value_of(edit, len(picked), site), picked)
            changed = _applied(operator, picked, operand, site)
            if not marked.is_all:
                changed = torch.where(marked.mask.to(values.device).unsqueeze(-1), changed, picked)
            self.finite.note(operator, picked, changed, site)
            new = changed
            if indices is not None:
                new = values.clone()
                new[..., units] = changed
            if site.kind == "hidden":
                self._note_backward(new)
            return new

        return change

    def _value_of(self, edit: Edit, rows: int, site: Site) -> Any:
        """Return the operand of an edit, once for each row that a sentence has in this forward."""
        copies, repeat = self._copies.get(self._side_of[site], 1), edit.resolved.operand.repeat
        return edit.value if repeat is None or copies == 1 else repeat(edit.value, copies, rows)

    def _expert_editor(self, site: Site, edit: Edit, width: int, n_experts: int) -> VisitFn:
        operator, routed_edit = edit.resolved, RoutedEdit(edit, site, width, n_experts)

        def apply(values: Tensor, operand: Any) -> Tensor:
            changed = _applied(operator, values, operand, site)
            self.finite.note(operator, values, changed, site)
            return changed

        def change(routed: Routed) -> Tensor:
            mask = self._marked_at(routed.values, site).mask.to(routed.values.device)
            return routed_edit.new_values(routed, mask, apply)

        return change


def _applied(operator: Operator, values: Tensor, operand: Any, site: Site) -> Tensor:
    """Return what an operator makes of the values, checked: it may be a user's own."""
    if values.is_inference():  # such tensors count no changes
        with torch.inference_mode(False):
            values = values.clone()
    version = values._version
    where = f"operator {operator.name!r} at site {site}"
    with errors_of(where):
        new = operator.fn(values, operand)
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
