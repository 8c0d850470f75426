"""`Routed`: what a function sees at a site of the experts of a mixture."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Routed:
    """The values of the experts that each token was routed to.

    A site of experts has `n_experts × width` coordinates: number `expert × width + j` is neuron j of an
    expert. A token passes through few of them. Its values at the others are 0 and are stored nowhere.

    Attributes:
        values: [batch, token, slot, width]: a row for each expert that a token was routed to; 0 in a slot
            that holds none.
        experts: [batch, token, slot]: which expert it is, from 0; `n_experts` in a slot that holds none.
        n_experts: How many experts there are.

    Example:
        >>> def zero_expert_5(routed):
        ...     return routed.values.masked_fill((routed.experts == 5).unsqueeze(-1), 0.0)
        >>> routed = Routed(torch.ones(1, 1, 2, 3), torch.tensor([[[5, 0]]]), n_experts=8)
        >>> zero_expert_5(routed).sum(dim=-1).tolist()
        [[[0.0, 3.0]]]
    """

    values: Float[Tensor, "batch token slot width"]
    experts: Int[Tensor, "batch token slot"]
    n_experts: int

    @property
    def width(self) -> int:
        """Number of coordinates of one expert: its neurons; 1 at a router."""
        return self.values.shape[-1]

    @property
    def is_routed(self) -> Bool[Tensor, "batch token slot"]:
        """Which slots hold an expert."""
        return self.experts < self.n_experts

    def reaches(self, coordinates: Int[Tensor, " coordinate"]) -> Bool[Tensor, "batch token coordinate"]:
        """Return which coordinates of the site each token was routed to."""
        experts = (coordinates.to(self.experts.device) // self.width).to(self.experts.dtype)
        found = torch.zeros(*self.experts.shape[:2], len(experts), dtype=torch.bool, device=experts.device)
        for slot in self.experts.unbind(-1):
            found |= slot.unsqueeze(-1) == experts
        return found

    def at(self, coordinates: Int[Tensor, " coordinate"]) -> Float[Tensor, "batch token coordinate"]:
        """Return the values at some coordinates of the site; 0 for tokens that were not routed there."""
        coordinates = coordinates.to(self.experts.device)
        experts, columns = coordinates // self.width, coordinates % self.width
        found = self.values.new_zeros(*self.experts.shape[:2], len(coordinates))
        for slot, values in zip(self.experts.unbind(-1), self.values.unbind(-2), strict=True):
            found = torch.where(slot.unsqueeze(-1) == experts, values[..., columns], found)
        return found

    def replaced(
        self,
        coordinates: Int[Tensor, " coordinate"],
        new: Float[Tensor, "batch token coordinate"],
    ) -> Float[Tensor, "batch token slot width"]:
        """Return `values` with other values at some coordinates, for the tokens that were routed there.

        What `new` holds for other tokens is not used: a token has no value at an expert that it was not
        routed to.
        """
        coordinates = coordinates.to(self.experts.device)
        experts, columns = coordinates // self.width, coordinates % self.width
        values = self.values.clone()
        for number, slot in enumerate(self.experts.unbind(-1)):
            line, token, which = (slot.unsqueeze(-1) == experts).nonzero(as_tuple=True)
            values[line, token, number, columns[which]] = new[line, token, which]
        return values

    def without_first(self, count: int) -> "Routed":
        """Return it without the first tokens of each line."""
        return Routed(self.values[:, count:], self.experts[:, count:], self.n_experts)
