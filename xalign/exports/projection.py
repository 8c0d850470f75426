"""`ChangedProjection`: a Linear with edits of what it takes and gives folded into its weight and bias."""

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from xalign.errors import ModelError
from xalign.exports.affine import Affine

Side = Literal["input", "output"]


@dataclass(frozen=True, slots=True)
class Folded:
    """A changed weight and bias, and what was added to each, in float64.

    Attributes:
        weight: The changed weight.
        bias: The changed bias; zeros where the projection has none and nothing is added.
        left: The first factor of what was added to the weight.
        right: The second one.
        added_bias: What was added to the bias.
    """

    weight: Float[Tensor, "out in"]
    bias: Float[Tensor, " out"]
    left: Float[Tensor, "out rank"]
    right: Float[Tensor, "rank in"]
    added_bias: Float[Tensor, " out"]


@dataclass
class ChangedProjection:
    """A Linear, or GPT-2's Conv1D, and the changes that are made before and after it.

    Attributes:
        path: Its path in the model.
        module: The projection.
        steps: Which side each change is on, and the change, in the order in which they act.
    """

    path: str
    module: Any
    steps: list[tuple[Side, Affine]] = field(default_factory=list)

    @property
    def is_transposed(self) -> bool:
        """Whether the weight is [in, out], as in Conv1D, and not [out, in]."""
        return isinstance(self.module, Conv1D)

    @property
    def needs_bias(self) -> bool:
        """Whether the changed projection adds a constant that has no place in it as it is."""
        return self.module.bias is None and any(change.has_offset for _, change in self.steps)

    def scale(self) -> tuple[Side, Float[Tensor, " width"]] | None:
        """Return the factors of its input, or of its output, where it is changed by such alone; else None."""
        sides = {side for side, _ in self.steps}
        if len(sides) > 1 or any(one.scale is None or one.has_offset for _, one in self.steps):
            return None
        factors = torch.stack([one.whole_scale() for _, one in self.steps]).prod(dim=0)
        return sides.pop(), factors

    def folded(self) -> Folded:
        """Return weight and bias with every change in them, in float64."""
        weight, bias = self._own_weight(), self._own_bias()
        own_bias, factors = bias, []
        for side, change in self.steps:
            if side == "input":
                bias = bias + weight[:, change.index] @ change.offset
                factors.append((change.after(weight), change.whole_right()))
                _add_to_columns(weight, factors[-1][0], change)
            else:
                left = change.whole_left()
                bias = bias + left @ change.before(bias.unsqueeze(1)).squeeze(1) + change.whole_offset()
                factors.append((left, change.before(weight)))
                _add_to_rows(weight, factors[-1][1], change)
        left, right = (torch.cat(both, dim=1 - at) for at, both in enumerate(zip(*factors, strict=True)))
        if left.shape[1] > min(weight.shape):
            left, right = torch.eye(len(weight), dtype=torch.float64), weight - self._own_weight()
        return Folded(weight, bias, left, right, bias - own_bias)

    def parameters(self) -> dict[str, Tensor]:
        """Return the changed parameters as the module has them: name -> values."""
        folded, own = self.folded(), self.module.weight
        weight = folded.weight.T if self.is_transposed else folded.weight
        changed = {"weight": weight.to(own).contiguous()}
        if self.module.bias is not None or self.needs_bias:
            changed["bias"] = folded.bias.to(own)
        return changed

    def _own_weight(self) -> Tensor:
        weight = plain_weight(self.path, self.module).detach().to("cpu", torch.float64)
        return (weight.T if self.is_transposed else weight).clone()

    def _own_bias(self) -> Tensor:
        if self.module.bias is None:
            weight = self.module.weight
            return torch.zeros(weight.shape[1 if self.is_transposed else 0], dtype=torch.float64)
        bias: Tensor = self.module.bias
        return bias.detach().to("cpu", torch.float64)


def _add_to_columns(weight: Tensor, left: Tensor, change: Affine) -> None:
    """Add left · right to a weight, where right picks columns, without zeros being multiplied."""
    if change.right is None:
        weight[:, change.scaled] += left
    else:
        weight[:, change.index] += left @ change.right


def _add_to_rows(weight: Tensor, right: Tensor, change: Affine) -> None:
    if change.left is None:
        weight[change.scaled] *= change.whole_scale()[change.scaled].unsqueeze(1)
    else:
        weight[change.index] += change.left @ right


def plain_weight(path: str, module: Any) -> Tensor:
    """Return the weight of a projection, whose values can be read and changed.

    Raises:
        ModelError: It is no plain Linear, or its weight is quantised, split between processes, or empty.
    """
    weight = getattr(module, "weight", None)
    if not isinstance(module, nn.Linear | Conv1D) or not isinstance(weight, Tensor):
        raise ModelError(f"{path} is a {type(module).__name__}, and edits are folded into Linear alone")
    is_plain = type(weight) in (Tensor, nn.Parameter) and weight.layout == torch.strided
    if not is_plain or not weight.is_floating_point() or weight.is_meta:
        raise ModelError(
            f"the weight of {path} is {type(weight).__name__} of {weight.dtype} on {weight.device}: it is "
            "quantised, split between processes, or without values; load the model whole, in float32 or "
            "bfloat16"
        )
    return weight
