"""`visit`: read and replace values inside a running model. Only this file registers hooks."""

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers.utils.generic import ModelOutput

from xalign.errors import ArgumentTypeError, ModelError
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.architectures.map import ModelMap, Place, map_model
from xalign.model.architectures.sites import Site
from xalign.model.wrapped import entry_points

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
) -> Iterator[None]:
    """Call a function on the tensor of each site in every forward of the model.

    Each function gets a tensor of shape [batch, token, width], whatever the module's own shape is (flattened
    tokens, fused halves). It returns None to look, or a tensor of the same shape, dtype and device to put in
    its place. Returning the very tensor it was given keeps that tensor on the model's own path, so that
    gradients of later computations reach it.

    Hooks exist only inside the `with` and are removed however it ends. Visits nest: the inner one sees the
    values that the outer one put in place. Under gradient checkpointing, the second run inside backward is
    not a forward: functions that look are not called again, functions that replace are, so the `with` must
    then enclose the backward.

    Args:
        model: The model that is called inside the `with`; wrapped models (PEFT, DDP) are passed as they are
            called.
        fns: Site -> function.
        early_exit: Leave the forward, and with it the `with`, as soon as every site has fired: the blocks
            above and the head are not run, and statements below the call in the `with` are not reached. Not
            for sharded models, whose blocks must finish what they began.
        on_forward: Called before each forward of the model with its positional and its named arguments.

    Raises:
        ModelError: A site that the model does not have; or, during the forward, one that did not fire, fired
            twice, or was given a tensor of another shape, dtype or device.

    Example:
        >>> seen = []
        >>> with visit(model, {Site("inner", 0): lambda neurons: seen.append(neurons.shape)}):
        ...     _ = model(**batch)
        >>> seen
        [torch.Size([2, 5, 64])]
    """
    _check_fns(fns)
    model_map = map_model(model)
    session = _HookSession(fns, early_exit, on_forward)
    outer = len(_ACTIVE.sessions)
    with ExitStack() as stack:
        stack.callback(session.end_forward)
        _register_hooks(stack, session, model, model_map)
        try:
            yield
        except _EarlyExit as left:
            if left.session is not session:  # an outer visit's
                raise
            for inner in _ACTIVE.sessions[outer:]:
                inner.end_forward()
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


def _register_hooks(stack: ExitStack, session: "_HookSession", model: nn.Module, model_map: ModelMap) -> None:
    """Register a session's hooks; the stack removes them."""

    def keep(handle: RemovableHandle) -> None:
        stack.callback(handle.remove)

    places = {site: model_map.place(site) for site in session.fns}
    if "torch._dynamo" in sys.modules:
        # A compiled graph, of the model or of a function around it, does not see hooks added later.
        stack.enter_context(torch.compiler.set_stance("force_eager"))
    for entry in entry_points(model):
        keep(entry.register_forward_pre_hook(session.on_call, prepend=True, with_kwargs=True))
    if model_map.layout.flattened or any(site.kind == "linear" for site in places):
        first = model_map.blocks[0]
        keep(first.register_forward_pre_hook(session.on_first_block, with_kwargs=True, prepend=True))
    for site, place in places.items():
        if place.side == "input":
            keep(place.module.register_forward_pre_hook(session.on_input(site, place), with_kwargs=True))
        else:
            keep(place.module.register_forward_hook(session.on_output(site, place)))
    for entry in entry_points(model):  # last: an entry may be a site's module too
        keep(entry.register_forward_hook(session.on_return))


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

    def __init__(self, fns: Mapping[Site, VisitFn], early_exit: bool, on_forward: ForwardFn | None) -> None:
        self.fns = fns
        self._early_exit, self._on_forward = early_exit, on_forward
        self._forwards = 0
        self._fired: Counter[Site] = Counter()
        self._fired_outside = False
        self._replaced: set[Site] = set()
        self._tokens = torch.Size()
        self._entry: nn.Module | None = None

    def on_call(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        if self in _ACTIVE.sessions and self._entry is not module:
            return  # the model inside a PeftModel whose forward is in progress
        if args and isinstance(args[0], Mapping):
            args, kwargs = (), dict(args[0])  # the features of a SentenceTransformer
        if self._on_forward is not None:
            self._on_forward(args, kwargs)
        self.end_forward()
        self._entry = module
        _ACTIVE.sessions.append(self)
        self._forwards += 1
        self._fired.clear()

    def on_return(self, module: nn.Module, args: Any, output: Any) -> None:  # noqa: ARG002
        if self._entry is not module:
            return
        self.end_forward()
        silent = [str(site) for site in self.fns if not self._fired[site]]
        if silent:
            raise ModelError(
                f"site(s) {', '.join(silent)} did not fire in this forward of {type(module).__name__}: "
                "something bypasses their modules; print(map_model(model)) shows which they are, "
                "register_layout overrides them"
            )

    def end_forward(self) -> None:
        if self in _ACTIVE.sessions:
            _ACTIVE.sessions.remove(self)

    def check_called(self) -> None:
        if self._fired_outside and not self._forwards:
            raise ModelError(
                "the sites fired, but the visited model itself was never called: visit the object you call "
                "(the PeftModel, not its base model)"
            )

    def on_first_block(self, module: nn.Module, args: Any, kwargs: Any) -> None:  # noqa: ARG002
        # Modules that see flattened tokens do not know this shape.
        self._tokens = _first_tensor(args, kwargs).shape[:2]

    def on_input(self, site: Site, place: Place) -> Callable[..., Any]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ARG001
            new = self._fire(site, place, _first_tensor(args, kwargs))
            if new is None:
                return None
            if args:
                return (new, *args[1:]), kwargs
            return args, kwargs | {next(iter(kwargs)): new}

        return hook

    def on_output(self, site: Site, place: Place) -> Callable[..., Any]:
        def hook(module: nn.Module, args: Any, output: Any) -> Any:  # noqa: ARG001
            new = self._fire(site, place, _states_in(output))
            if new is None:
                return None
            if isinstance(output, ModelOutput):
                return replace(output, last_hidden_state=new)  # type: ignore[type-var]
            return (new, *output[1:]) if isinstance(output, tuple) else new

        return hook

    def _fire(self, site: Site, place: Place, raw: Tensor) -> Tensor | None:
        in_forward = self in _ACTIVE.sessions
        if in_forward:
            self._fired[site] += 1
            if self._fired[site] > 1:
                raise ModelError(
                    f"site {site} fired twice in one forward: {place.path} is called more than once, so "
                    "there is no one tensor to give"
                )
        else:  # recomputed in backward, or called around the visited model
            self._fired_outside = True
            if site not in self._replaced:
                return None
        given = raw.reshape(*self._tokens, -1) if raw.dim() == 2 and self._tokens else raw
        if given.dim() != 3:
            raise ModelError(f"site {site} has shape {tuple(raw.shape)}, which is not [batch, token, width]")
        rest = None
        if place.half:
            given, rest = given[..., : place.width], given[..., place.width :]
        new = self.fns[site](given)
        if self._early_exit and in_forward and self._fired.keys() == self.fns.keys():
            raise _EarlyExit(self)
        if new is None:
            return None
        if new is not given:
            self._replaced.add(site)
            _check(site, given, new)
        elif given is raw:
            return None
        if rest is not None:
            new = torch.cat([new, rest], dim=-1)
        return new.reshape(raw.shape)


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


def _states_in(output: Any) -> Tensor:
    """Return the states in what a module returned: alone, first in a tuple, or named by a whole model."""
    if isinstance(output, ModelOutput):
        return output["last_hidden_state"]  # type: ignore[no-any-return]
    return output[0] if isinstance(output, tuple) else output  # type: ignore[no-any-return]


def _first_tensor(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    return args[0] if args else next(iter(kwargs.values()))  # type: ignore[no-any-return]


def when_backward_reaches(values: Tensor, fn: Callable[[], None]) -> None:
    """Call a function each time that a backward reaches a tensor, before it goes on below it."""
    if values.requires_grad:
        values.register_hook(lambda gradient: fn())  # type: ignore[no-untyped-call]  # noqa: ARG005
