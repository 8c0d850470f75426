"""`Changed`: a module, and the edits of its input and output that are folded into its weight and bias."""

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from xalign.errors import ModelError
from xalign.exports.affine import Affine

Side = Literal["input", "output"]


@dataclass
class Changed:
    """A module whose weights change.

    Attributes:
        path: Its path in the model.
        module: The module.
        steps: Which side each change is on, and the change, in the order in which they act.
    """

    path: str
    module: Any
    steps: list[tuple[Side, Affine]] = field(default_factory=list)

    @property
    def needs_bias(self) -> bool:
        """Whether it adds a constant that has no place in the module as it is."""
        return self.module.bias is None and any(change.has_offset for _, change in self.steps)

    def parameters(self) -> dict[str, Tensor]:
        """Return the changed parameters as the module has them: name -> values."""
        raise NotImplementedError


def plain_weight(path: str, module: nn.Module) -> Tensor:
    """Return the weight of a module, whose values can be read and changed.

    Raises:
        ModelError: It is quantised, split between processes, or has no values.
    """
    weight: Any = getattr(module, "weight", None)
    is_plain = type(weight) in (Tensor, nn.Parameter) and weight.layout == torch.strided
    if not is_plain or not weight.is_floating_point() or weight.is_meta:
        raise ModelError(
            f"the weight of {path} is {type(weight).__name__} of {getattr(weight, 'dtype', None)}: it is "
            "quantised, split between processes, or without values; load the model whole, in float32 or "
            "bfloat16"
        )
    found: Tensor = weight
    return found


def in_double(values: Tensor) -> Tensor:
    """Return a copy of weights, on the CPU in float64."""
    return values.detach().to("cpu", torch.float64, copy=True)
