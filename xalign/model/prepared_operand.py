"""`PreparedOperand`: the operand of an edit as its operator takes it, made anew only where it must be."""

from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from xalign.model.architectures.sites import Site
from xalign.model.edit import Edit


class PreparedOperand:
    """Brings the operand of an edit to the device and the data type of the values.

    An operand that is the same in every forward is brought there once: to bring it anew for each token that
    is generated takes longer than the edit. One that is trained is brought anew, since each forward needs a
    way back to it; and so is one that was changed in place.

    Args:
        edit: The edit.
        site: Where it is made.
    """

    def __init__(self, edit: Edit, site: Site) -> None:
        self._kind, self._site = edit.resolved.operand, site
        self._kept: tuple[Hashable, Any] | None = None

    def __call__(self, operand: Any, values: Tensor) -> Any:
        """Return the operand for values [batch, token, unit]."""
        tensors = [one for one in tree_leaves(operand) if isinstance(one, Tensor)]
        if not self._kind.once or any(one.requires_grad or one.is_inference() for one in tensors):
            return self._kind.prepare(operand, values, self._site)
        inferring = torch.is_inference_mode_enabled()
        key = values.device, values.dtype, inferring, tuple((id(one), one._version) for one in tensors)
        if self._kept is None or self._kept[0] != key:
            self._kept = key, self._kind.prepare(operand, values, self._site)
        return self._kept[1]
