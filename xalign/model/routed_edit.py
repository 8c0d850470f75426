"""`RoutedEdit`: an edit at the experts of a mixture, made expert by expert."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xalign.errors import ArgumentError
from xalign.model.architectures.sites import Site
from xalign.model.edit import Edit
from xalign.model.operators import Operator
from xalign.model.prepared_operand import PreparedOperand
from xalign.model.routed import Routed

Apply = Callable[[Tensor, Any], Tensor]


@dataclass(frozen=True, slots=True)
class _OfExpert:
    """The coordinates of one expert that change.

    Attributes:
        expert: The expert.
        columns: Its neurons.
        units: Which of the edit's units these are.
    """

    expert: int
    columns: Int[Tensor, " own"]
    units: Int[Tensor, " own"]


class RoutedEdit:
    """Changes the coordinates of an edit, at the tokens that were routed to their experts alone.

    The operator gets the units of one expert at a time, [1, token, unit], with its own part of the operand.

    Args:
        edit: The change.
        site: A site of experts.
        width: Number of neurons of one expert.
        n_experts: Number of experts.
    """

    def __init__(self, edit: Edit, site: Site, width: int, n_experts: int) -> None:
        self._operator, self._site, self._n_experts = edit.resolved, site, n_experts
        self._value, self._prepared = edit.value, PreparedOperand(edit, site)
        indices = torch.arange(width * n_experts) if edit.indices is None else edit.indices
        order = torch.argsort(indices // width, stable=True)
        counts = torch.bincount(indices // width, minlength=n_experts).tolist()
        self._of_experts = [
            _OfExpert(expert, indices[units] % width, units)
            for expert, units in enumerate(torch.split(order, counts))
            if len(units)
        ]

    def new_values(
        self, routed: Routed, mask: Bool[Tensor, "batch token"], apply: Apply
    ) -> Float[Tensor, "batch token slot width"]:
        """Return the values of a site with the edit made.

        Args:
            routed: The values.
            mask: Which tokens are to change.
            apply: Takes values [1, token, unit] and operand, and returns new values, checked.
        """
        rows = routed.values.reshape(-1, routed.width)
        pick = self._operator.operand.pick
        if pick is None:
            raise ArgumentError(refusal(self._operator, self._site))
        operand = self._prepared(self._value, routed.values)
        new = rows.clone()
        for own, at in self._reached(routed, mask):
            columns, units = own.columns.to(rows.device), own.units.to(rows.device)
            cell = at.unsqueeze(1), columns
            new[cell] = apply(rows[cell].unsqueeze(0), pick(operand, units)).squeeze(0)
        return new.view_as(routed.values)

    def _reached(self, routed: Routed, mask: Tensor) -> Iterator[tuple[_OfExpert, Int[Tensor, " row"]]]:
        """Yield experts and the rows of the tokens that are to change and were routed to them."""
        is_meant = mask.unsqueeze(-1) & routed.is_routed
        expert = routed.experts.masked_fill(~is_meant, self._n_experts).flatten()
        # The counts come from the device once, whatever number of experts there are.
        counts = torch.bincount(expert, minlength=self._n_experts + 1).tolist()
        rows = torch.split(expert.argsort(stable=True), counts)
        return ((own, rows[own.expert]) for own in self._of_experts if len(rows[own.expert]))


def refusal(operator: Operator, site: Site) -> str:
    """Return why an operator cannot act at a site of experts."""
    return (
        f"operator {operator.name!r} cannot act at site {site}: its operand belongs to all coordinates of "
        "the site together, and a token has values at the few experts alone that it was routed to. Take an "
        "operator with one number per unit (set, add, scale, zero, clamp), or a site that every token passes "
        "(mlp_out, hidden)"
    )
