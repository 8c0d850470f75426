"""The order in which the experts of a mixture compute the rows of the tokens that are routed to them."""

from typing import Literal

import torch
from torch import Tensor, nn

Order = Literal["token", "sorted", "expert"]
ORDERS: tuple[Order, ...] = ("sorted", "token", "expert")


def known_order(module: nn.Module) -> Order | None:
    """Return the order of rows of the implementation that experts run with; None of one that is not known.

    - `token`: one call, the slots of the first token first (`batched_mm`);
    - `sorted`: one call, sorted by expert as torch sorts (`grouped_mm`);
    - `expert`: one call for each expert that a token was routed to, the first slot of all tokens first (the
      forward of the class, `eager`).
    """
    from transformers.integrations.moe import (
        ALL_EXPERTS_FUNCTIONS,
        batched_mm_experts_forward,
        grouped_mm_experts_forward,
    )

    name = implementation_of(module)
    if name == "eager":
        return "expert"
    orders: dict[object, Order] = {batched_mm_experts_forward: "token", grouped_mm_experts_forward: "sorted"}
    return orders.get(ALL_EXPERTS_FUNCTIONS.get(name))


def implementation_of(module: nn.Module) -> str:
    """Return the name of the implementation that experts run with."""
    return str(getattr(module.config, "_experts_implementation", None) or "eager")


def slots_of(index: Tensor, n_experts: int, order: Order) -> Tensor:
    """Return the number of the slot, `token × slots + slot`, of each row that the experts compute.

    Args:
        index: Which expert is in which slot [token, slot]; `n_experts` in one that holds none.
        n_experts: How many there are.
        order: The order of the rows.
    """
    tokens, slots = index.shape
    if order == "token":
        return torch.arange(index.numel(), device=index.device)
    if order == "sorted":
        # As `grouped_mm` does it, ties included.
        return torch.sort(index.reshape(-1))[1]
    by_slot = index.T.reshape(-1)
    found = by_slot.argsort(stable=True)[: int((by_slot < n_experts).sum())]
    return found % tokens * slots + found // tokens
