"""`visit`: read and replace values inside a running model."""

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from xalign.errors import ArgumentTypeError, ModelError
from xalign.model.architectures.axes import from_tokens, to_tokens
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.architectures.map import ModelMap, Place, map_model
from xalign.model.architectures.sites import Site
from xalign.model.eager import EAGER
from xalign.model.hooks import Hook, hook_input, hook_output, remove_hooks
from xalign.model.module_values import input_of, states_in, with_states
from xalign.model.turns import Turn
from xalign.model.undo import undo
from xalign.model.wrapped import entry_points, virtual_tokens

VisitFn = Callable[[Tensor], Tensor | None]
ForwardFn = Callable[[tuple[Any, ...], dict[str, Any]], None]


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
        fns: Site -> function.
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
    model_map = map_model(model)
    session, outer = _HookSession(model, fns, early_exit, on_forward, on_return), len(_ACTIVE.sessions)
    closing = [session.close]
    try:
        try:
            _register_hooks(session, model_map)
            yield
        except _EarlyExit as left:
            if left.session is not session:  # an outer visit's
                raise
            for inner in _ACTIVE.sessions[outer:]:
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


def _register_hooks(session: "_HookSession", model_map: ModelMap) -> None:
    """Register a session's hooks; `session.close` removes them."""
    places = {site: model_map.place(site) for site in session.fns}
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
    for site, place in places.items():
        module = session.hooked(place.module)
        if place.side == "input":
            hook_input(module, Hook(session, partial(session.on_input, site, place)))
        else:
            hook_output(module, Hook(session, partial(session.on_output, site, place)))
    for entry in session.entries:  # last: an entry may be a site's module too
        hook_output(entry, Hook(session, session.on_return))
        hook_output(entry, Hook(session, session.on_end), always=True)


def hold_others(model: nn.Module, turn: Turn) -> None:
    """Let forwards of other threads wait until a turn is over; `remove_hooks` ends it."""
    for entry in entry_points(model):
        hook_input(entry, Hook(turn, _pass, turn.wait), first=True)


def _pass(module: nn.Module, *given: Any) -> None:
    """Let the thread that observes go on."""


class _EarlyExit(BaseException):
    """Carries control out of a forward in which every site of a session has fired."""

    def __init__(self, session: "_HookSession") -> None:
        self.session = session


class _ActiveSessions(threading.local):
    """The sessions with a forward in progress, the outermost first."""

    def __init__(self) -> None:
        self.sessions: list[_HookSession] = []


_ACTIVE = _ActiveSessions()


class _HookSession:
    """The hooks of one `visit`: counts which sites fire, and gives each tensor to its function."""

    def __init__(
        self,
        model: nn.Module,
        fns: Mapping[Site, VisitFn],
        early_exit: bool,
        on_forward: ForwardFn | None,
        on_return: Callable[[], None] | None,
    ) -> None:
        self.fns, self.thread = fns, threading.get_ident()
        self.entries = entry_points(model)
        self._early_exit, self._on_forward, self._on_return = early_exit, on_forward, on_return
        self._hooked: list[nn.Module] = [*self.entries]
        self._virtual, self._given = virtual_tokens(model), 0
        self._forwards = self._elsewhere = 0
        self._fired: Counter[Site] = Counter()
        self._seen: set[Site] = set()
        self._replaced: set[Site] = set()
        self._tokens: dict[str, torch.Size] = {}
        self._entry: nn.Module | None = None

    def hooked(self, module: nn.Module) -> nn.Module:
        """Note a module that is about to get a hook."""
        self._hooked.append(module)
        return module

    def close(self) -> None:
        """Remove every hook and end what is open; as often as you like."""
        remove_hooks(self._hooked, lambda hook: hook.owner is self)
        self.end_forward()
        EAGER.end(self)

    def on_call_elsewhere(self, module: nn.Module) -> None:  # noqa: ARG002
        self._elsewhere += 1

    def on_call(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        if self in _ACTIVE.sessions and self._entry is not module:
            return  # the model inside a PeftModel whose forward is in progress
        if args and isinstance(args[0], Mapping):
            args, kwargs = (), dict(args[0])  # the features of a SentenceTransformer
        if self._on_forward is not None:
            self._on_forward(args, kwargs)
        self.end_forward()
        self._entry = module
        self._given = _columns(args, kwargs) if self._virtual else 0
        _ACTIVE.sessions.append(self)
        self._forwards += 1
        self._fired.clear()
        self._seen.clear()

    def on_return(self, module: nn.Module, args: Any, output: Any) -> None:  # noqa: ARG002
        if self._entry is not module:
            return
        self.end_forward()
        silent = [str(site) for site in self.fns if site not in self._seen]
        if silent:
            raise ModelError(
                f"site(s) {', '.join(silent)} did not fire in this forward of {type(module).__name__}: "
                "something bypasses their modules; print(map_model(model)) shows which they are, "
                "register_layout overrides them"
            )
        if self._on_return is not None:
            self._on_return()

    def on_end(self, module: nn.Module, args: Any, output: Any) -> None:  # noqa: ARG002
        """End a forward that ended with an exception, so that nothing after it is taken for a part of it."""
        if self._entry is module:
            self.end_forward()

    def end_forward(self) -> None:
        if self in _ACTIVE.sessions:
            _ACTIVE.sessions.remove(self)

    def check_called(self) -> None:
        if self._elsewhere and not self._forwards:
            raise ModelError(
                f"the model ran {self._elsewhere} time(s) in other threads while this one visited it, and a "
                "visit acts in its own thread only: open it in the thread that runs the model "
                "(generate_batch starts one of its own; use generate)"
            )

    def on_first_block(self, stack: str, place: Place, module: nn.Module, args: Any, kwargs: Any) -> None:  # noqa: ARG002
        # Modules that see flattened tokens do not know this shape.
        self._tokens[stack] = to_tokens(input_of(args, kwargs), place.axes, torch.Size()).shape[:2]

    def on_input(
        self,
        site: Site,
        place: Place,
        module: nn.Module,  # noqa: ARG002
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        new = self._fire(site, place, input_of(args, kwargs))
        if new is None:
            return None
        if args:
            return (new, *args[1:]), kwargs
        return args, kwargs | {next(iter(kwargs)): new}

    def on_output(self, site: Site, place: Place, module: nn.Module, args: Any, output: Any) -> Any:  # noqa: ARG002
        new = self._fire(site, place, states_in(output))
        return None if new is None else with_states(output, new)

    def _fire(self, site: Site, place: Place, raw: Tensor) -> Tensor | None:
        if not self._is_wanted(site, place):
            return None
        given = to_tokens(raw, place.axes, self._tokens.get(site.stack, torch.Size()))
        if given.dim() != 3:
            raise ModelError(f"site {site} has shape {tuple(raw.shape)}, which is not [batch, token, width]")
        front, columns = None, place.columns
        if columns is None and given.shape[-1] != place.width:
            raise ModelError(
                f"site {site} has {given.shape[-1]} values per token, not {place.width}: {place.path} was "
                "not given all tokens, as happens to a part of a mixture of experts"
            )
        if self._virtual and given.shape[1] == self._given + self._virtual:
            front, given = given[:, : self._virtual], given[:, self._virtual :]
        whole = given
        if columns is not None:
            given = given[..., columns]
        new = self.fns[site](given)
        if self._early_exit and self in _ACTIVE.sessions and self._seen == self.fns.keys():
            raise _EarlyExit(self)
        if new is None:
            return None
        if new is not given:
            self._replaced.add(site)
            _check(site, given, new)
        elif given is raw:
            return None
        if columns is not None:
            new = _with_columns(whole, columns, new)
        if front is not None:
            new = torch.cat([front, new], dim=1)
        return from_tokens(new, place.axes, raw.shape)

    def _is_wanted(self, site: Site, place: Place) -> bool:
        """Count a firing, and return whether it is the one that the site is."""
        if self in _ACTIVE.sessions:
            self._fired[site] += 1
            if self._fired[site] > place.calls:
                times = "twice" if place.calls == 1 else f"more than {place.calls} times"
                raise ModelError(
                    f"site {site} fired {times} in one forward: {place.path} is called more often than its "
                    "site knows, so there is no one tensor to give"
                )
            is_its_call = self._fired[site] == place.call + 1
            if is_its_call:
                self._seen.add(site)
            return is_its_call
        if torch._C._current_graph_task_id() == -1:
            raise ModelError(
                f"site {site} fired outside a forward of the visited model: visit the object you call (the "
                "PeftModel, not its base model; the whole model, not a part of it)"
            )
        if site in self._replaced and place.calls > 1:
            raise ModelError(
                f"site {site} is run again in a backward, and {place.path} is called {place.calls} times in "
                "a forward: which of these is run again cannot be told; switch gradient checkpointing off"
            )
        return site in self._replaced  # recomputed in a backward


def _with_columns(whole: Tensor, columns: slice, new: Tensor) -> Tensor:
    """Return states in which some columns are replaced by others."""
    if columns.step in (None, 1):
        stop = whole.shape[-1] if columns.stop is None else columns.stop
        parts = whole[..., : columns.start or 0], new, whole[..., stop:]
        return torch.cat([part for part in parts if part.shape[-1]], dim=-1)
    changed = whole.clone()
    changed[..., columns] = new
    return changed


def _check(site: Site, given: Tensor, new: Tensor) -> None:
    if not isinstance(new, Tensor):
        raise ArgumentTypeError(
            f"the function at site {site} must return None or a tensor, not {type(new).__name__}"
        )
    for name in ("shape", "dtype", "device"):
        if getattr(new, name) != getattr(given, name):
            raise ModelError(
                f"the function at site {site} returned {name} {getattr(new, name)} where "
                f"{getattr(given, name)} is expected"
            )


def _columns(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """Return how many tokens a forward was given, before the model adds its own."""
    given = [kwargs.get("input_ids"), kwargs.get("inputs_embeds"), *args[:1]]
    return next((int(one.shape[1]) for one in given if isinstance(one, Tensor)), 0)
