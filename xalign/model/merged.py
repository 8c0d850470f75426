"""`KeptMerged`: adapters that PEFT has merged into the weights, kept as they are to the bit."""

from typing import Any

from torch import nn

from xalign.model.snapshot import Attributes, is_merged


class KeptMerged:
    """Lets a forward unmerge adapters on copies of the weights, and puts the weights themselves back.

    PEFT unmerges an adapter as soon as a forward runs without it: it subtracts what it had added, which does
    not give back the same numbers, and leaves the adapter unmerged. While the copies are in use, the merged
    layers take twice their memory.

    Args:
        model: The model.
        only_disabled: Look only at layers whose adapters are disabled, which the next forward would unmerge.
    """

    def __init__(self, model: nn.Module, only_disabled: bool = False) -> None:
        layers = [
            module
            for module in model.modules()
            if is_merged(module) and (not only_disabled or getattr(module, "disable_adapters", False))
        ]
        # LN-tuning merges by exchanging modules.
        dicts = [one for layer in layers for one in layer.children() if isinstance(one, nn.ModuleDict)]
        inside = {one for layer in layers for one in layer.modules()}
        lists: list[Any] = [layer.merged_adapters for layer in layers]
        self._lists = [(listed, list(listed)) for listed in lists]
        self._children = [(one, dict(one._modules)) for one in (*layers, *dicts)]
        self._weights = [(one, dict(one._parameters)) for one in inside]
        parameters = {p for one in inside for p in one._parameters.values() if p is not None}
        self._data = [(parameter, parameter.data) for parameter in parameters]
        # Quantised layers keep scales on the weight, and what they made of them in an object of their own.
        states = [vars(one)["state"] for one in inside if hasattr(vars(one).get("state"), "__dict__")]
        self._attributes = [Attributes(one) for one in (*parameters, *states)]

    def begin(self) -> None:
        """Put copies in the place of the weights."""
        for parameter, data in self._data:
            parameter.data = data.clone()

    def put_back(self) -> None:
        """Put the weights back, and note the adapters as merged; as often as you like."""
        for module, children in self._children:
            module._modules.update(children)
        for module, weights in self._weights:
            module._parameters.update(weights)
        for parameter, data in self._data:
            parameter.data = data
        for attributes in self._attributes:
            attributes.put_back()
        for listed, before in self._lists:
            listed[:] = before
