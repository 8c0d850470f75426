"""`watch_experts`: look at one call of the experts of a mixture, and replace what they compute."""

import threading
from collections.abc import Callable
from functools import cached_property
from inspect import signature
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from xalign.errors import ModelError
from xalign.model.architectures.expert_order import Order, implementation_of, known_order, slots_of
from xalign.model.architectures.places import Experts
from xalign.model.expert_taps import tapped
from xalign.model.hooks import Owner, in_thread_of
from xalign.model.shadow import Shadow, drop_shadows, put_shadow

# Which expert of which slot, and the values in them: [token, slot] and [token, slot, width].
See = Callable[[Tensor, Tensor], Tensor | None]


class Listener(Protocol):
    """What looks at the experts of a module.

    Attributes:
        path: The path of the module.
        experts: What is known of it.
        see: Kind -> function of the experts of each slot and the values there; it returns None or others.
    """

    path: str
    experts: Experts
    see: dict[str, See]


def watch_experts(owner: Owner, module: nn.Module, listener: Listener) -> None:
    """Let a listener look at each call of some experts, in the owner's thread, until `forget_experts`.

    Listeners of one call see what those before them put in place, kind by kind.
    """
    with _LOCK:
        watch = _watch_of(module)
        if watch is None:
            watch = _Watch(module)
            put_shadow(module, "forward", watch, watch.forward)
        watch.listeners.append((owner, listener))


def forget_experts(owner: Owner, module: nn.Module) -> None:
    """Take an owner's listeners off a module; the last one leaves it as it was."""
    with _LOCK:
        watch = _watch_of(module)
        if watch is None:
            return
        watch.listeners = [one for one in watch.listeners if one[0] is not owner]
        if not watch.listeners:
            drop_shadows(module, "forward", watch)


_LOCK = threading.Lock()


def _watch_of(module: nn.Module) -> "_Watch | None":
    shadow = vars(module).get("forward")
    around = shadow.around if isinstance(shadow, Shadow) else []
    return next((owner for owner, _ in around if isinstance(owner, _Watch)), None)


class _Watch:
    """Stands around the forward of some experts, for all who look at them."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self.listeners: list[tuple[Owner, Listener]] = []

    @property
    def thread(self) -> int:
        """This thread, whichever it is: each listener has its own."""
        return threading.get_ident()

    def forward(self, lower: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run the experts, and show what they compute."""
        listeners = [listener for owner, listener in self.listeners if in_thread_of(owner)]
        if not listeners:
            return lower(*args, **kwargs)
        return _Call(self._module, listeners).run(lower, args, kwargs)


class Given:
    """What experts are given: states [token, width], and the experts and their weights [token, slot]."""

    def __init__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._names = list(signature(type(module).forward).parameters)[1:4]
        self.args, self.kwargs, self.module = args, kwargs, module
        found = dict(zip(self._names, args, strict=False)) | kwargs
        states, index, weights = (found.get(name) for name in self._names)
        if any(not isinstance(one, Tensor) or one.dim() != 2 for one in (index, weights)):  # noqa: PLR2004
            raise ModelError(
                f"{type(module).__name__} is not given experts and weights of each token [token, slot], so "
                "what each token runs through is not known; read hidden, attn_out or mlp_out"
            )
        self.states, self.index, self.weights = cast(tuple[Tensor, Tensor, Tensor], (states, index, weights))

    def with_weights(self, weights: Tensor) -> "Given":
        """Return it with other weights."""
        name = self._names[2]
        if name in self.kwargs:
            return Given(self.module, self.args, self.kwargs | {name: weights})
        return Given(self.module, (*self.args[:2], weights, *self.args[3:]), self.kwargs)


class Rows:
    """The rows that experts compute, and the slots of the tokens that they belong to.

    Args:
        given: What the experts are given.
        order: The order of the rows.
    """

    def __init__(self, given: Given, order: Order) -> None:
        count = int(given.module.num_experts)  # type: ignore[arg-type]
        self._given = given.index
        self.index = given.index.clamp(max=count)
        self._is_empty = self.index == count
        self._any_empty = bool(self._is_empty.any())
        self._order = order
        self._count = count

    @cached_property
    def slots(self) -> Tensor:
        """The slot of each row, as `token × slots + slot`."""
        return slots_of(self._given, self._count, self._order)

    @cached_property
    def _rows_by_slot(self) -> Tensor:
        return self.slots.argsort()

    def values(self, rows: Tensor) -> Tensor:
        """Return rows as [token, slot, width]; 0 in slots that hold no expert."""
        if len(rows) != len(self.slots):
            raise ModelError(
                f"the experts computed {len(rows)} rows where {len(self.slots)} were routed to them, so "
                "which row belongs to which token is not known; choose another implementation: "
                "model.set_experts_implementation('grouped_mm')"
            )
        if len(rows) < self.index.numel():
            rows = rows.new_zeros(self.index.numel(), rows.shape[-1]).index_copy(0, self.slots, rows)
        elif self._order != "token":
            rows = rows.index_select(0, self._rows_by_slot)
        return self.routed(rows.reshape(*self.index.shape, rows.shape[-1]))

    def routed(self, values: Tensor) -> Tensor:
        """Return values [token, slot, width] with 0 in slots that hold no expert."""
        return values.masked_fill(self._is_empty.unsqueeze(-1), 0) if self._any_empty else values

    def kept(self, new: Tensor, values: Tensor) -> Tensor:
        """Return new values, with those that were there in slots that hold no expert."""
        return torch.where(self._is_empty.unsqueeze(-1), values, new) if self._any_empty else new

    def rows(self, values: Tensor, rows: Tensor) -> Tensor:
        """Return values [token, slot, width] as rows; `rows` are those that were there."""
        found = values.reshape(-1, values.shape[-1])
        if self._order != "token":
            found = found.index_select(0, self.slots)
        if not self._any_empty:
            return found
        return torch.where(self._is_empty.reshape(-1)[self.slots].unsqueeze(-1), rows, found)


class _Call:
    """One call of experts, and who looks at it."""

    def __init__(self, module: nn.Module, listeners: list[Listener]) -> None:
        self._module, self._listeners = module, listeners

    def run(self, lower: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Run the experts."""
        given = Given(self._module, args, kwargs)
        weights = given.weights.unsqueeze(-1)
        new = self._see_slots("router", Rows(given, "token"), weights)
        if new is not weights:
            given = given.with_weights(new.squeeze(-1))
        if not any({"expert_gate", "expert_inner"} & one.see.keys() for one in self._listeners):
            return lower(*given.args, **given.kwargs)
        path, facts = self._listeners[0].path, self._listeners[0].experts
        order = known_order(self._module) or facts.order
        if order is None:
            raise ModelError(unknown_order(self._module, path))
        run = _Run(self._module, Rows(given, order), facts.gate, self._see)
        return (run.by_expert if order == "expert" else run.at_once)(lower, given.args, given.kwargs)

    def _see_slots(self, kind: str, rows: Rows, found: Tensor) -> Tensor:
        """Show values [token, slot, width]; return them, or those to put in their place."""
        for listener in self._listeners:
            see = listener.see.get(kind)
            new = None if see is None else see(rows.index, rows.routed(found))
            found = found if new is None else rows.kept(new, found)
        return found

    def _see(self, kind: str, rows: Rows, found: Tensor) -> Tensor:
        """Show rows to those who look at a kind; return them, or those to put in their place."""
        for listener in self._listeners:
            see = listener.see.get(kind)
            new = None if see is None else see(rows.index, rows.values(found))
            found = found if new is None else rows.rows(new, found)
        return found


class _Run:
    """Runs experts, as often as what they compute is replaced too late."""

    def __init__(
        self,
        module: nn.Module,
        rows: Rows,
        columns: slice | None,
        see: Callable[[str, Rows, Tensor], Tensor],
    ) -> None:
        self._module, self._rows, self._columns, self._see = module, rows, columns, see

    def at_once(self, lower: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Run experts that compute all rows in one call."""

        def gate(found: Tensor) -> Tensor:
            return self._see("expert_gate", self._rows, found)

        def inner(found: Tensor) -> Tensor:
            return self._see("expert_inner", self._rows, found)

        with tapped(self._module, gate, inner, self._columns):
            return lower(*args, **kwargs)

    def by_expert(self, lower: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Run experts that compute the rows of one expert after the other.

        What they compute is seen as one when all have run, and replaced in another run.
        """
        put: dict[str, Tensor] = {}
        output, found = self._collect(lower, args, kwargs, put)
        for kind in ("expert_gate", "expert_inner"):
            if not found[kind]:
                continue
            rows = torch.cat(found[kind])
            new = self._see(kind, self._rows, rows)
            if new is not rows:
                put[kind] = new
                output, found = self._collect(lower, args, kwargs, put)
        return output

    def _collect(
        self, lower: Callable[..., Any], args: Any, kwargs: Any, put: dict[str, Tensor]
    ) -> tuple[Any, dict[str, list[Tensor]]]:
        found: dict[str, list[Tensor]] = {"expert_gate": [], "expert_inner": []}

        def take(kind: str, rows: Tensor) -> Tensor:
            first = sum(len(one) for one in found[kind])
            new = put.get(kind)
            rows = rows if new is None else new[first : first + len(rows)]
            found[kind].append(rows)
            return rows

        with tapped(
            self._module,
            lambda rows: take("expert_gate", rows),
            lambda rows: take("expert_inner", rows),
            self._columns,
        ):
            return lower(*args, **kwargs), found


def unknown_order(module: nn.Module, path: str) -> str:
    """Return why the rows of experts cannot be told apart, and what to do."""
    return (
        f"{path}: the experts implementation {implementation_of(module)!r} computes the rows of tokens in an "
        "order that is not known, so which neuron belongs to which token cannot be told; switch it while you "
        "read: model.set_experts_implementation('grouped_mm')"
    )
