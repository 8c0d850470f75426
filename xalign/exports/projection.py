"""`ChangedProjection`: a Linear with edits of its input and output folded into its weight and bias."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from xalign.exports.affine import Affine
from xalign.exports.changed import Changed, Side, in_double
from xalign.model.architectures.kinds_of_module import widths_of


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


class ChangedProjection(Changed):
    """A Linear, or GPT-2's Conv1D, and the changes that are made before and after it."""

    @property
    def is_transposed(self) -> bool:
        """Whether the weight is [in, out], as in Conv1D, and not [out, in]."""
        return isinstance(self.module, Conv1D)

    def scale(self) -> tuple[Side, Float[Tensor, " width"]] | None:
        """Return the factors of its input or of its output, if nothing else changes it; else None."""
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
        weight = in_double(self.module.weight)
        return weight.T.contiguous() if self.is_transposed else weight

    def _own_bias(self) -> Tensor:
        if self.module.bias is None:
            return torch.zeros(widths_of(self.module)[1], dtype=torch.float64)
        return in_double(self.module.bias)


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
