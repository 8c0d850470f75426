"""`FiniteCheck`: whether edits made values that their data type cannot hold, asked once per forward."""

from collections import defaultdict
from dataclasses import dataclass

import torch
from torch import Tensor

from xalign.errors import ArgumentError
from xalign.model.architectures.sites import Site
from xalign.model.operators import Operator


@dataclass(frozen=True, slots=True)
class _Noted:
    overflowed: Tensor  # whether any value did; still on its device
    operator: Operator
    site: Site
    dtype: torch.dtype


class FiniteCheck:
    """Finds finite values that an edit has made infinite or NaN.

    What is found stays on the device until the forward is over: a program that asked at each site would wait
    for a GPU at each of them.
    """

    def __init__(self) -> None:
        self._noted: list[_Noted] = []

    def note(self, operator: Operator, values: Tensor, changed: Tensor, site: Site) -> None:
        """Look at the values of a site before and after an edit that could have made others."""
        if operator.is_finite and not changed.requires_grad:
            return
        overflowed = (values.isfinite() & ~changed.isfinite()).any()
        self._noted.append(_Noted(overflowed, operator, site, values.dtype))

    def check(self) -> None:
        """Raise an error where an edit since the last check made such values.

        Raises:
            ArgumentError: There are some; the first edit that made them is named.
        """
        noted, self._noted = self._noted, []
        by_device: dict[torch.device, list[Tensor]] = defaultdict(list)
        for one in noted:
            by_device[one.overflowed.device].append(one.overflowed)
        if not any(bool(torch.stack(flags).any()) for flags in by_device.values()):
            return
        first = next(one for one in noted if bool(one.overflowed))
        raise ArgumentError(
            f"operator {first.operator.name!r} at site {first.site} makes values that {first.dtype} cannot "
            "hold: they become infinite or NaN; take a smaller strength, or load the model in a wider dtype"
        )
