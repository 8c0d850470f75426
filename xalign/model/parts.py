"""`Parts`: which submodules and weights a module holds, noted and put back."""

from typing import Any

from torch import nn

from xalign.model.contents import OfContainer


class Parts:
    """The submodules and weights of a module, the objects themselves and their order, as they are now.

    Nothing is copied: a weight that a forward changes in place keeps its new values.

    Args:
        module: The module.
        sharded: Whether FSDP2 exchanges its weights in a forward. It knows which object is in use, so that
            only those whose name is new are taken away, and those whose name is missing are put back.
    """

    def __init__(self, module: nn.Module, sharded: bool = False) -> None:
        kept: list[dict[str, Any]] = [module._modules, *([] if sharded else [module._parameters])]
        self._kept = [(held, dict(held)) for held in kept]
        self._contents = [OfContainer(held) for held in kept]
        self._named = [(module._parameters, dict(module._parameters))] if sharded else []

    @property
    def lost(self) -> bool:
        """Whether something that the module held is no longer there. What a forward added does not count."""
        return any(
            one is not None and held.get(name) is not one
            for held, before in self._kept
            for name, one in before.items()
        )

    def put_back(self) -> None:
        """Give the module again what it held; as often as you like."""
        for content in self._contents:
            content.put_back()
        for held, before in self._named:
            for name in [name for name in held if name not in before]:
                del held[name]
            for name, weight in before.items():
                held.setdefault(name, weight)
