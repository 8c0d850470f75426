"""`ChangedNorm`: a LayerNorm with edits of its output folded into its weight and bias."""

import torch
from torch import Tensor

from xalign.errors import ModelError
from xalign.exports.changed import Changed, in_double


class ChangedNorm(Changed):
    """A LayerNorm. It multiplies each coordinate by a weight and adds a bias, and so can its edits."""

    def parameters(self) -> dict[str, Tensor]:
        """Return the changed parameters as the module has them: name -> values.

        Raises:
            ModelError: A change that mixes coordinates.
        """
        weight = in_double(self.module.weight)
        bias = torch.zeros_like(weight) if self.module.bias is None else in_double(self.module.bias)
        for _, change in self.steps:
            if change.scale is None:
                raise ModelError(
                    f"{self.path} is a norm, which has one weight for each coordinate: an edit there that "
                    "mixes them, such as project, cannot be exported; scale, zero, set or add there, or keep "
                    "to steer()"
                )
            weight = weight * change.whole_scale()
            bias = bias * change.whole_scale() + change.whole_offset()
        changed = {"weight": weight.to(self.module.weight)}
        if self.module.bias is not None or self.needs_bias:
            changed["bias"] = bias.to(self.module.weight)
        return changed
