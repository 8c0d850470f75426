"""`with_act_places`: where activation functions give their values, in blocks whose places are known."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from torch import nn

from xalign.model.architectures.places import BlockPlaces, Place, StackPlaces

_NO_MODULE = "its activation function is a function of torch and no module, so its output cannot be changed"


def with_act_places(model: nn.Module, stack: StackPlaces) -> StackPlaces:
    """Return the places of a stack with those of its activation functions.

    A place is the output of a module that was proved to be the activation function of a gate. Where blocks
    share the module, or are one block that runs several times, its calls are counted in the order of blocks.

    Args:
        model: The model, for paths.
        stack: The places without them.
    """
    paths = {id(module): path for path, module in model.named_modules()}
    calls = Counter(id(module) for block in stack.blocks for module, _ in _acts(block))
    seen: Counter[int] = Counter()
    blocks = []
    for block in stack.blocks:
        places = []
        for module, gate in _acts(block):
            number = seen[id(module)]
            seen[id(module)] += 1
            path, of_all = paths.get(id(module), ""), calls[id(module)]
            places.append(
                Place(module, path, "output", gate.width, axes=gate.axes, call=number, calls=of_all)
            )
        refused = {} if places or not block.places.get("gate") else {"act": _NO_MODULE}
        blocks.append(
            replace(block, places=block.places | {"act": tuple(places)}, refused=refused | block.refused)
        )
    return replace(stack, blocks=tuple(blocks))


def _acts(block: BlockPlaces) -> Iterator[tuple[nn.Module, Place]]:
    """Yield the activation functions of a block that are modules, each with its gate.

    A block with several networks, some of whose functions are no modules, has none: parts would be counted
    differently from those of its gates.
    """
    gates = block.places.get("gate", ())
    modules = [one.module for one in block.activations if one is not None and one.module is not None]
    if len(gates) == len(modules):
        yield from zip(modules, gates, strict=True)
