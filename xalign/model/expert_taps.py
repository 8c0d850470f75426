"""`tapped`: see and replace what the experts of a mixture compute, in whichever way they are run."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from xalign.model.module_values import with_columns
from xalign.model.shadow import shadowed

# Takes rows [row, width], and returns the very same or others to put in their place.
Tap = Callable[[Tensor], Tensor]
_PRODUCTS = frozenset({"mul", "__mul__", "__rmul__", "mul_", "multiply"})


@contextmanager
def tapped(module: nn.Module, gate: Tap, inner: Tap, columns: slice | None) -> Iterator[None]:
    """Show the gate and the neurons of experts as they are computed, in the order in which that happens.

    Experts compute their neurons by `_apply_gate`; by `act_fn` where they have no gate; or, in the forward of
    most classes, by `act_fn` of the gate times something.

    Args:
        module: The experts.
        gate: Called with the rows of the gate, before the activation function.
        inner: Called with the rows of the neurons.
        columns: Which columns of what `_apply_gate` takes are the gate.
    """
    products, within = _Products(inner), [False]

    def apply_gate(lower: Callable[..., Tensor], rows: Tensor) -> Tensor:
        within[0] = True
        try:
            return inner(lower(_with_gate(rows)))
        finally:
            within[0] = False

    def _with_gate(rows: Tensor) -> Tensor:
        given = rows if columns is None else rows[..., columns]
        new = gate(given)
        if new is given:
            return rows
        return new if columns is None else with_columns(rows, columns, new)

    def activate(lower: Callable[..., Tensor], rows: Tensor, *more: Any, **named: Any) -> Tensor:
        if within[0] or more or named:
            return lower(rows, *more, **named)
        acted = lower(gate(rows))
        if not module.has_gate:
            return inner(acted)
        products.factor = acted
        return acted

    with ExitStack() as stack:
        if module.has_gate:
            stack.enter_context(shadowed(module, "_apply_gate", apply_gate))
            stack.enter_context(products)
        if hasattr(module, "act_fn"):
            stack.enter_context(shadowed(module, "act_fn", activate))
        yield


class _Products(TorchFunctionMode):
    """Shows the product of an activated gate with whatever it is multiplied by."""

    def __init__(self, seen: Tap) -> None:
        super().__init__()
        self.factor: Tensor | None = None
        self._seen = seen

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        factor = self.factor
        if factor is None or getattr(func, "__name__", "") not in _PRODUCTS:
            return output
        if not any(one is factor for one in args):
            return output
        self.factor = None
        return self._seen(output)
