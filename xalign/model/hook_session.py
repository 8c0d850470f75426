"""`HookSession`: the hooks of one `visit`, and what they do in a forward."""

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from xalign.errors import ArgumentTypeError, ModelError
from xalign.model.architectures.axes import from_tokens, to_tokens
from xalign.model.architectures.places import Place
from xalign.model.architectures.sites import Site
from xalign.model.eager import EAGER
from xalign.model.expert_call import forget_experts
from xalign.model.hooks import remove_hooks
from xalign.model.module_values import input_of, states_in, with_columns, with_states
from xalign.model.routed import Routed
from xalign.model.wrapped import encoder_of, entry_points, virtual_tokens

# Of a tensor [batch, token, width]; at a site of experts, of a `Routed`.
VisitFn = Callable[[Any], Tensor | Routed | None]
ForwardFn = Callable[[tuple[Any, ...], dict[str, Any]], None]


class EarlyExit(BaseException):
    """Carries control out of a forward in which every site of a session has fired."""

    def __init__(self, session: "HookSession") -> None:
        self.session = session


class ActiveSessions(threading.local):
    """The sessions with a forward in progress, the outermost first."""

    def __init__(self) -> None:
        self.sessions: list[HookSession] = []


ACTIVE = ActiveSessions()


class HookSession:
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
        self._kept: set[Site] = set()
        self._tokens: dict[str, torch.Size] = {}
        self._entry: nn.Module | None = None
        self._encoder = encoder_of(model)
        self._of_encoder: set[Site] = set()
        self._expected: set[Site] = set()
        self._failure: Exception | None = None

    def place_sites(self, places: Mapping[Site, Place]) -> None:
        """Note which sites are in the encoder of an encoder–decoder, which `generate` calls by itself."""
        within = set(self._encoder.modules()) if self._encoder is not None else set()
        self._of_encoder = {site for site, place in places.items() if place.module in within}

    def hooked(self, module: nn.Module) -> nn.Module:
        """Note a module that is about to get a hook."""
        self._hooked.append(module)
        return module

    @property
    def parts(self) -> list[nn.Module]:
        """The modules that got a hook, but for those that are called from outside."""
        return [module for module in self._hooked if module not in self.entries]

    def close(self) -> None:
        """Remove every hook and end what is open; as often as you like."""
        remove_hooks(self._hooked, lambda hook: hook.owner is self)
        for module in self._hooked:
            forget_experts(self, module)
        self.end_forward()
        EAGER.end(self)

    def on_call_elsewhere(self, module: nn.Module) -> None:  # noqa: ARG002
        """Count a forward in another thread."""
        self._elsewhere += 1

    def on_call(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        """Begin a forward."""
        if self in ACTIVE.sessions and self._entry is not module:
            return  # the model inside a PeftModel whose forward is in progress
        if args and isinstance(args[0], Mapping):
            args, kwargs = (), dict(args[0])  # the features of a SentenceTransformer
        if self._on_forward is not None:
            self._on_forward(args, kwargs)
        self.end_forward()
        self._entry = module
        self._given = _columns(args, kwargs) if self._virtual else 0
        ACTIVE.sessions.append(self)
        self._forwards += 1
        self._expected = set(self.fns)
        if module is self._encoder:
            self._expected &= self._of_encoder
        elif self._encoder is not None and kwargs.get("encoder_outputs") is not None:
            self._expected -= self._of_encoder
        self._fired.clear()
        self._seen.clear()

    def on_return(self, module: nn.Module, args: Any, output: Any) -> None:  # noqa: ARG002
        """End a forward, in which every site of what was called must have fired."""
        if self._entry is not module:
            return
        self.end_forward()
        silent = [str(site) for site in self.fns if site in self._expected - self._seen]
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
        """End the forward in progress, if there is one."""
        self._failure = None
        if self in ACTIVE.sessions:
            ACTIVE.sessions.remove(self)

    def check_called(self) -> None:
        """Raise an error if the model ran in other threads only."""
        if self._elsewhere and not self._forwards:
            raise ModelError(
                f"the model ran {self._elsewhere} time(s) in other threads while this one visited it, and a "
                "visit acts in its own thread only: open it in the thread that runs the model "
                "(generate_batch starts one of its own; use generate)"
            )

    def on_first_block(self, stack: str, place: Place, module: nn.Module, args: Any, kwargs: Any) -> None:  # noqa: ARG002
        """Note how many sentences the forward has, and how many tokens each."""
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
        """Give what a module is given to the function of a site, and put in place what it returns."""
        new = self._fire(site, place, input_of(args, kwargs))
        if new is None:
            return None
        if args:
            return (new, *args[1:]), kwargs
        return args, kwargs | {next(iter(kwargs)): new}

    def on_output(self, site: Site, place: Place, module: nn.Module, args: Any, output: Any) -> Any:  # noqa: ARG002
        """Give what a module returned to the function of a site, and put in place what it returns."""
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
        new = self._give(site, given, given)
        if new is None:
            return None
        if new is not given:
            self._replaced.add(site)
        elif given is raw:
            return None
        if columns is not None:
            new = with_columns(whole, columns, new)
        if front is not None:
            new = torch.cat([front, new], dim=1)
        return from_tokens(new, place.axes, raw.shape)

    def _give(self, site: Site, values: Tensor | Routed, like: Tensor) -> Any:
        """Return what the function of a site makes of values: None, the values, or a tensor `like` them."""
        try:
            new: Any = self.fns[site](values)
            if new is not None and new is not values:
                _check(site, like, new)
        except Exception as error:
            self._failure = error
            raise
        if self._early_exit and self in ACTIVE.sessions and self._seen == self.fns.keys():
            raise EarlyExit(self)
        return new

    def tokens_of(self, stack: str) -> tuple[int, int]:
        """Return how many sentences the forward in progress has, and how many tokens each."""
        lines, tokens = self._tokens[stack]
        return lines, tokens

    def fire_experts(self, site: Site, place: Place, routed: Routed) -> Tensor | None:
        """Give the values of a site of experts to its function, as `_fire` does at other sites."""
        if not self._is_wanted(site, place):
            # A checkpointed backward must find the operations of the forward again.
            return routed.values if site in self._kept and self not in ACTIVE.sessions else None
        virtual = self._virtual if routed.experts.shape[1] == self._given + self._virtual else 0
        shown = routed.without_first(virtual) if virtual else routed
        new = self._give(site, shown, shown.values)
        if new is None:
            return None
        if new is shown or new is shown.values:
            self._kept.add(site)
            return routed.values
        self._replaced.add(site)
        return torch.cat([routed.values[:, :virtual], new], dim=1) if virtual else new

    def _is_wanted(self, site: Site, place: Place) -> bool:
        """Count a firing, and return whether it is the one that the site is."""
        if self in ACTIVE.sessions:
            self._fired[site] += 1
            if self._fired[site] > place.calls:
                if self._failure is not None:  # transformers 4 runs a forward again after a TypeError
                    raise self._failure
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
