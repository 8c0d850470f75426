"""Neuron activation overlap (NAO): whether the same neurons respond strongly to an item in all languages."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xalign.errors import ArgumentError
from xalign.metrics.metric import Metric

THRESHOLD = 0.4
"""The |activation| that a neuron must exceed, as in the paper, which tries .1 to .9."""


def activation_overlap(active: Bool[Tensor, "language item neuron"]) -> Float[Tensor, " item"]:
    """Return K · |∩ S| / Σ |S| per item, where S are the neurons that are active in each of K languages.

    It is 1 where all languages activate the same neurons, and 0 where no neuron is active in all of them.

    Args:
        active: Whether each neuron is active, for an item in each language.

    Raises:
        ArgumentError: Fewer than 2 languages.

    Reference:
        2406.16655, on the last token of the input, averaged over items.

    Example:
        >>> active = torch.tensor([[[True, True, False]], [[False, True, True]]])
        >>> activation_overlap(active).tolist()
        [0.5]
    """
    if len(active) < 2:  # noqa: PLR2004
        raise ArgumentError(f"active is of {len(active)} language(s); an overlap needs at least 2")
    in_all, counts = active[0], active[0].sum(dim=1)
    for of_language in active[1:]:
        in_all, counts = in_all & of_language, counts + of_language.sum(dim=1)
    return _quotient(len(active) * in_all.sum(dim=1), counts)


def pair_overlap(
    pivot: Float[Tensor, "pair neuron"], other: Float[Tensor, "pair neuron"]
) -> Float[Tensor, " pair"]:
    """Return `activation_overlap` of each pair: of the neurons whose |activation| exceeds `THRESHOLD`.

    Example:
        >>> pair_overlap(torch.tensor([[0.5, -0.6, 0.1]]), torch.tensor([[0.2, 0.7, 0.4]])).round(decimals=3)
        tensor([0.6670], dtype=torch.float64)
    """
    return activation_overlap(torch.stack([_strong(pivot), _strong(other)]))


def unrelated_pair_overlap(
    pivot: Float[Tensor, "pair neuron"], other: Float[Tensor, "pair neuron"]
) -> Float[Tensor, " pair"]:
    """Return the mean overlap of each sentence with the translations of all other sentences.

    Raises:
        ArgumentError: Fewer than 2 pairs.

    Example:
        >>> unrelated_pair_overlap(torch.eye(3), torch.eye(3)).tolist()
        [0.0, 0.0, 0.0]
    """
    n = len(pivot)
    if n < 2:  # noqa: PLR2004
        raise ArgumentError(f"{n} pair: there is no other sentence to compare with")
    one, two = _strong(pivot).float(), _strong(other).float()  # whole numbers: exact up to 2²⁴ neurons
    overlaps = _quotient(2 * one @ two.T, one.sum(dim=1, keepdim=True) + two.sum(dim=1))
    return (overlaps.sum(dim=1) - overlaps.diagonal()) / (n - 1)


def _strong(values: Tensor) -> Tensor:
    return values.abs() > THRESHOLD


def _quotient(above: Tensor, below: Tensor) -> Tensor:
    return above.double() / below.double().clamp_min(1)  # nothing of nothing is 0


ACTIVATION_OVERLAP = Metric(
    "nao",
    "Neuron activation overlap",
    "last_neurons",
    pair_overlap,
    over="states",
    has_floor=False,
    null=unrelated_pair_overlap,
    unit="share of strong neurons",
    definition=(
        "Of the neurons that act strongly in a sentence or its translation, the share that both "
        "have in common."
    ),
)
