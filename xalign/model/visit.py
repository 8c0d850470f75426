"""`visit`: read and replace values inside a running model."""

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import nn

from xalign.errors import ArgumentTypeError
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.architectures.map import ModelMap, Place, map_model
from xalign.model.architectures.sites import Site
from xalign.model.class_forwards import ClassForwards
from xalign.model.eager import EAGER
from xalign.model.expert_call import watch_experts
from xalign.model.expert_sites import ExpertSites
from xalign.model.hook_session import ACTIVE, EarlyExit, ForwardFn, HookSession, VisitFn
from xalign.model.hooks import Hook, hook_input, hook_output
from xalign.model.turns import Turn
from xalign.model.undo import undo
from xalign.model.wrapped import entry_points

__all__ = ["ForwardFn", "VisitFn", "hold_others", "visit"]


@takes_layout
@contextmanager
def visit(
    model: nn.Module,
    fns: Mapping[Site, VisitFn],
    *,
    early_exit: bool = False,
    on_forward: ForwardFn | None = None,
    on_return: Callable[[], None] | None = None,
) -> Iterator[None]:
    """Call a function on the tensor of each site in every forward of the model.

    Each function gets a tensor of shape [batch, token, width], whatever the module's own shape is (flattened
    tokens, fused halves). It returns None to look, or a tensor of the same shape, dtype and device to put in
    its place. Returning the very tensor it was given keeps that tensor on the model's own path, so that
    gradients of later computations reach it.

    Hooks exist only inside the `with` and are removed however it ends. Visits nest: the inner one sees the
    values that the outer one put in place. They act in the thread that opened the `with`; what other threads
    run is neither looked at nor changed. Tokens that prompt tuning adds are not shown to the functions. Under
    gradient checkpointing, the second run inside backward is not a forward: functions that look are called
    once only, functions that replace again, so the `with` must then enclose the backward.

    Args:
        model: The model that is called inside the `with`, with its wrapper (PEFT, DDP) where it has one.
        fns: Site -> function. At a site of experts it gets a `Routed`, and returns None or other `values`.
        early_exit: Leave the forward, and with it the `with`, as soon as every site has fired: the blocks
            above and the head are not run, and statements below the call in the `with` are not reached. Not
            for sharded models, whose blocks must finish what they began.
        on_forward: Called before each forward of the model with its positional and its named arguments.
        on_return: Called after each forward that was not left early.

    Raises:
        ModelError: A site that the model does not have; or, during the forward, one that did not fire, fired
            twice, fired where only a part of the model was called, or was given a tensor of another shape,
            dtype or device; or, at the end, a model that was run in other threads only.

    Example:
        >>> seen = []
        >>> with visit(model, {Site("inner", 0): lambda neurons: seen.append(neurons.shape)}):
        ...     _ = model(**batch)
        >>> seen
        [torch.Size([2, 5, 64])]
    """
    _check_fns(fns)
    with visit_mapped(
        *(model, map_model(model), fns), early_exit=early_exit, on_forward=on_forward, on_return=on_return
    ):
        yield


@contextmanager
def visit_mapped(
    model: nn.Module,
    model_map: ModelMap,
    fns: Mapping[Site, VisitFn],
    *,
    early_exit: bool = False,
    on_forward: ForwardFn | None = None,
    on_return: Callable[[], None] | None = None,
) -> Iterator[None]:
    """Visit a model whose map is known; otherwise as `visit`.

    To look whether a map still holds takes as long as a small model's forward, which counts where a model is
    visited for each of many batches.

    Args:
        model: The model.
        model_map: Its map, as `map_model` just gave it.
        fns: As in `visit`, and so are the others.
        early_exit: Whether to leave the forward once every site has fired.
        on_forward: Called before each forward.
        on_return: Called after each forward.
    """
    session, outer = HookSession(model, fns, early_exit, on_forward, on_return), len(ACTIVE.sessions)
    forwards = ClassForwards()
    closing = [session.close, forwards.put_back]
    try:
        try:
            _register_hooks(session, model_map)
            forwards.use_around(session.parts, model)
            yield
        except EarlyExit as left:
            if left.session is not session:  # an outer visit's
                raise
            for inner in ACTIVE.sessions[outer:]:
                inner.end_forward()
        finally:
            undo(closing)
    finally:
        undo(closing)
    session.check_called()


def _check_fns(fns: object) -> None:
    if not isinstance(fns, Mapping):
        raise ArgumentTypeError(f"fns must map xalign.Site to functions, not be {fns!r:.60}")
    for site, fn in fns.items():
        if not callable(fn):
            raise ArgumentTypeError(f"the function at site {site} must be callable, not {fn!r:.60}")
        if not isinstance(site, Site):
            raise ArgumentTypeError(
                f"fns must map xalign.Site to functions, not {site!r:.60}; see Site.parse"
            )


def _register_hooks(session: HookSession, model_map: ModelMap) -> None:
    """Register a session's hooks; `session.close` removes them."""
    places = {site: model_map.place(site) for site in session.fns}
    session.place_sites(places)
    if "torch._dynamo" in sys.modules:
        # A compiled graph, of the model or of a function around it, does not see hooks added later.
        EAGER.begin(session)
    for entry in session.entries:
        on_call = Hook(session, session.on_call, session.on_call_elsewhere)
        hook_input(entry, on_call, first=True)
    for stack in {site.stack for site, place in places.items() if place.axes in ("rows", "any")}:
        first = model_map.embed_of(stack)
        on_first = Hook(session, partial(session.on_first_block, stack, first))
        hook_input(session.hooked(first.module), on_first, first=True)
    mixtures: dict[nn.Module, dict[Site, Place]] = defaultdict(dict)
    for site, place in places.items():
        module = session.hooked(place.module)
        if place.experts is not None:
            mixtures[module][site] = place
        elif place.side == "input":
            hook_input(module, Hook(session, partial(session.on_input, site, place)))
        else:
            hook_output(module, Hook(session, partial(session.on_output, site, place)))
    for module, of_experts in mixtures.items():
        watch_experts(session, module, ExpertSites(session, of_experts))
    for entry in session.entries:  # last: an entry may be a site's module too
        hook_output(entry, Hook(session, session.on_return))
        hook_output(entry, Hook(session, session.on_end), always=True)


def hold_others(model: nn.Module, turn: Turn) -> None:
    """Let forwards of other threads wait until a turn is over; `remove_hooks` ends it."""
    for entry in entry_points(model):
        hook_input(entry, Hook(turn, _pass, turn.wait), first=True)


def _pass(module: nn.Module, *given: Any) -> None:
    """Let the thread that observes go on."""
