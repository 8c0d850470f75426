"""Where a model's weights are: the device of its input, weights that have no values, offloaded ones."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from xalign.errors import ModelError


def device_of(model: nn.Module) -> torch.device:
    """Return the device on which a model takes its input.

    Weights that accelerate offloads lie on the meta device between forwards; it says where it runs them.

    Raises:
        ModelError: No weight has values.
    """
    for hook in chain.from_iterable(map(_hooks_of, model.modules())):
        device = getattr(hook, "execution_device", None)
        if device is not None:
            return torch.device(device)
    for tensor in chain(model.parameters(), model.buffers()):
        if not tensor.is_meta:
            return tensor.device
    raise ModelError(
        f"no weight of this {type(model).__name__} has values: they are on the meta device; load them first"
    )


def refusing_empty(model: nn.Module) -> AbstractContextManager[object]:
    """Raise an error, inside the `with`, as soon as a forward uses a weight that has no values.

    Some operations of torch return arbitrary numbers for weights on the meta device, and no error. Weights
    that no forward uses may be there, and so may those that accelerate loads when they are needed.

    Raises:
        ModelError: The name of the parameter or buffer.
    """
    named = chain(model.named_parameters(), model.named_buffers())
    empty = {id(tensor): name for name, tensor in named if tensor.is_meta}
    if not empty:
        return nullcontext()
    offloaded = {id(tensor) for module in _offloaded(model) for tensor in _tensors(module)}
    empty = {key: name for key, name in empty.items() if key not in offloaded}
    return _RefuseEmpty(empty) if empty else nullcontext()


class _RefuseEmpty(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Looks at the arguments of every operation."""

    def __init__(self, empty: dict[int, str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._empty = empty

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for value in tree_leaves((args, kwargs or {})):
            if isinstance(value, Tensor) and value.is_meta and id(value) in self._empty:
                more = f" (and {len(self._empty) - 1} more)" if len(self._empty) > 1 else ""
                raise ModelError(
                    f"{self._empty[id(value)]}{more} is on the meta device, where it has no values, and the "
                    "model runs it; load all weights first, or offload them with accelerate, which loads "
                    "them when they are needed"
                )
        return func(*args, **(kwargs or {}))


def _hooks_of(module: nn.Module) -> list[Any]:
    """Return accelerate's hooks of one module."""
    hook = vars(module).get("_hf_hook")
    return list(getattr(hook, "hooks", () if hook is None else (hook,)))


def _offloaded(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules whose weights are loaded when they are called."""
    for module in model.modules():
        hooks = [hook for hook in _hooks_of(module) if getattr(hook, "offload", False)]
        if hooks:
            yield from module.modules() if any(hook.place_submodules for hook in hooks) else (module,)


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters(recurse=False)
    yield from module.buffers(recurse=False)
