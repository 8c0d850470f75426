"""`write`: change the values at some sites while the model runs, and leave no trace."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn

from xalign.checks import boolean
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.architectures.map import ModelMap, map_model
from xalign.model.architectures.sites import Site
from xalign.model.edit import Changed, Edit, Written
from xalign.model.edit_session import EditSession
from xalign.model.generation import watched_generate
from xalign.model.indices import check_inside
from xalign.model.positions import Positions, check_positions
from xalign.model.prompt_tracker import PromptLength, PromptTracker, check_prompt_length
from xalign.model.recorders import record_edited
from xalign.model.routed_edit import refusal
from xalign.model.visit import visit_mapped
from xalign.renamed import renamed
from xalign.warn import warn

__all__ = ["Changed", "Edit", "Written", "write"]


@takes_layout
@contextmanager
def write(
    model: nn.Module,
    edits: Mapping[Site, Edit],
    *,
    positions: Positions = "all",
    prompt_length: PromptLength | None = None,
    trace: bool = False,
) -> Iterator[Written]:
    """Change values at sites in every forward inside the `with`, at all real tokens or at some.

    The weights are not touched: after the `with`, also after an exception, the model is what it was, to the
    bit. Writes nest: the inner one sees the values that the outer one wrote.

    Inside `generate` the prompt is what `generate` was given, tokens of an earlier turn and of a cache
    included; the tokens after it are generated. Outside, every token of a forward is prompt. A forward that
    goes on with a filled cache may carry either, so that `prompt_length` must say where the prompt ends.
    Where tokens cannot be told apart, naming them is an error that says what to give instead.

    Args:
        model: The model that is called inside the `with`.
        edits: Site -> change.
        positions: `"all"`, `"prompt"`, `"generated"`, `"last_prompt"` (each sentence's last real token of the
            prompt); numbers of the prompt's real tokens, like `[0, -1]` for the first and the last; a boolean
            mask [sentence, column] over the sequence, False beyond its end; or a function
            from `Tokens` to a boolean tensor [sentence, token]. Padding is never changed.
        prompt_length: Number of columns of the prompt, padding and cached tokens included; one number, or a
            tensor with one for each row. It goes before what `generate` was given.
        trace: Record every token that is changed.

    Yields:
        What has been done so far.

    Raises:
        ArgumentError: A unit that the site does not have, a value whose length is not that of the units, an
            operator that returns another shape or dtype, values that the model's data type cannot hold,
            positions that cannot be known, or, at the end, positions that matched no token.
        ModelError: Continuous batching, which runs the model in another thread.

    Example:
        >>> with write(model, {Site("inner", 0): Edit("zero", units=[3, 7])}, positions="prompt") as done:
        ...     without_two_neurons = model(**batch)
        >>> done.tokens
        10
    """
    check_positions(positions)
    check_prompt_length(prompt_length)
    boolean("trace", trace)
    model_map = map_model(model)
    _check_edits(edits, model_map)
    with watched_generate(model) as watcher:
        session = EditSession(model, positions, PromptTracker(watcher, prompt_length), trace=trace)
        edited = [model_map.place(site) for site in edits]
        outputs = {place.module for place in edited if place.side == "output" and place.experts is None}
        fns = session.fns(edits, model_map)
        begin, check = session.begin_forward, session.finite.check
        with visit_mapped(model, model_map, fns, on_forward=begin, on_return=check), record_edited(outputs):
            yield session.written
    session.finite.check()  # what a backward ran again
    _check_done(session.written, positions, elsewhere=watcher.elsewhere)


def _check_done(written: Written, positions: Positions, *, elsewhere: bool) -> None:
    """Say at the end of a write if it changed less than it was meant to."""
    if written.forwards and not written.tokens:
        raise ArgumentError(
            f"positions={positions!r:.60} matched no token in {written.forwards} forward(s), so nothing was "
            "changed; 'generated' needs generate or prompt_length=, a prompt_length= must end within the "
            "tokens, and a mask must hold True at real tokens"
        )
    if written.forwards and elsewhere:
        warn("generate was also called in another thread, where this write does not act; open one there")


def _check_edits(edits: object, model_map: ModelMap) -> None:
    if not isinstance(edits, Mapping) or not all(isinstance(edit, Edit) for edit in edits.values()):
        raise ArgumentTypeError(f"edits must map xalign.Site to Edit, not be {edits!r:.80}")
    for site, edit in edits.items():
        if not isinstance(site, Site):
            raise ArgumentTypeError(f"edits must map xalign.Site to Edit, not {site!r:.60}; see Site.parse")
        place = model_map.place(site)
        if place.experts is not None and edit.resolved.operand.pick is None:
            raise ArgumentError(refusal(edit.resolved, site))
        _check_fits(site, edit, place.width)


def _check_fits(site: Site, edit: Edit, width: int) -> None:
    """Raise an error where the site does not have an edit's units, or its operand is of another width."""
    units = edit.indices
    if units is not None:
        check_inside(site, width, units)
    edit.resolved.operand.check_width(site, edit.value, width if units is None else len(units))


def __getattr__(name: str) -> Any:
    return renamed(__name__, name)
