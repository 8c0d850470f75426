"""Routing overlap: whether a sentence and its translation run through the same experts of a mixture."""

import torch
from jaxtyping import Float
from torch import Tensor

from xalign.errors import ArgumentError
from xalign.metrics.metric import Metric


def routing_overlap(
    pivot: Float[Tensor, "pair expert"], other: Float[Tensor, "pair expert"]
) -> Float[Tensor, " pair"]:
    """Return the overlap of the experts that each sentence and its translation were routed to.

    p_i(e) is the share of sentence i's choices that fell on expert e: how often its tokens chose e, pooled,
    and divided by the sum over all experts. q_i is the same for its translation. The overlap is

        o_i = Σ_e min(p_i(e), q_i(e)) = 1 − ½ Σ_e |p_i(e) − q_i(e)|

    It is 1 where both use the same experts equally often, and 0 where they share none. What any two sentences
    share, even if they are not translations, is `unrelated_overlap`.

    Args:
        pivot: How often each pivot sentence chose each expert, not negative.
        other: The same for the translations.

    Raises:
        ArgumentError: Sides of different shapes.

    Example:
        >>> pivot = torch.tensor([[2.0, 1.0, 1.0], [0.0, 0.0, 4.0]])
        >>> routing_overlap(pivot, torch.tensor([[1.0, 1.0, 2.0], [1.0, 1.0, 0.0]])).tolist()
        [0.75, 0.0]
    """
    if pivot.shape != other.shape:
        raise ArgumentError(f"the sides have shapes {tuple(pivot.shape)} and {tuple(other.shape)}")
    return torch.minimum(_shares(pivot), _shares(other)).sum(dim=1)


def unrelated_overlap(
    pivot: Float[Tensor, "pair expert"], other: Float[Tensor, "pair expert"]
) -> Float[Tensor, " pair"]:
    """Return the mean overlap of each sentence with the translations of all other sentences.

    It is the `routing_overlap` expected without translation, which comes from popular experts, the shape of
    sentences and the language alone.

    Raises:
        ArgumentError: Sides of different shapes, or fewer than 2 pairs.

    Example:
        >>> unrelated_overlap(torch.eye(3), torch.eye(3)).tolist()
        [0.0, 0.0, 0.0]
    """
    n = len(pivot)
    if n < 2:  # noqa: PLR2004
        raise ArgumentError(f"{n} pair: there is no other sentence to compare with")
    overlaps = routing_overlap(pivot, other)
    shares, others = _shares(pivot), _shares(other)
    # A row at a time: never pair × pair × expert.
    sums = torch.stack([torch.minimum(one, others).sum() for one in shares])
    return (sums - overlaps) / (n - 1)


def _shares(chosen: Tensor) -> Tensor:
    chosen = chosen.double()
    return chosen / chosen.sum(dim=1, keepdim=True)


ROUTING = Metric(
    "routing",
    "Routing overlap",
    "router",
    routing_overlap,
    over="states",
    has_floor=False,
    null=unrelated_overlap,
    unit="share of choices",
    definition=(
        "How much the experts to which a sentence's tokens were routed overlap with those of its translation."
    ),
)
