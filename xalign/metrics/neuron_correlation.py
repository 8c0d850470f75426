"""Average neuron-wise correlation (ANC): whether each coordinate varies alike in both languages."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from xalign.metrics.centred import centred, check_states, quotient
from xalign.metrics.jackknife import jackknife_values
from xalign.metrics.metric import Metric

_LEAST = 3


def neuron_correlation_per_pair(
    pivot: Float[Tensor, "pair width"], other: Float[Tensor, "pair width"]
) -> Float[Tensor, " pair"]:
    """Return what each pair adds to the average neuron-wise correlation of two languages.

    ANC is the mean over coordinates of the absolute Pearson correlation, over parallel sentences, of the
    coordinate in one language with the same coordinate in the other. A coordinate that is the same in all
    sentences of a language has correlation 0. The value of a pair is that of `jackknife_values`.

    Args:
        pivot: States of the pivot, a row per sentence.
        other: States of their translations.

    Returns:
        A value per pair. Their mean is the ANC, in [0, 1].

    Raises:
        ArgumentError: Different numbers of rows, or fewer than 3.

    Reference:
        Del and Fishel (2022), Cross-lingual similarity of multilingual representations revisited.

    Example:
        >>> states = torch.tensor([[0.0, 1.0], [2.0, 0.0], [1.0, 1.0], [5.0, 3.0]])
        >>> round(neuron_correlation_per_pair(states, 1 - 2 * states).mean().item(), 9)
        1.0
    """
    n = check_states(pivot, other, _LEAST)
    x, y = centred(pivot), centred(other)
    pairs = ((x, y), (x, x), (y, y))
    whole = _absolute(*((a * b).sum(dim=0) for a, b in pairs)).mean()
    # Without row i, the mean moves too: the sum of products of centred values loses n / (n − 1) of its part.
    share = n / (n - 1)
    without = _absolute(*((a * b).sum(dim=0) - share * a * b for a, b in pairs)).mean(dim=1)
    return jackknife_values(whole, without)


def neuron_correlation_chance(n: int) -> float:
    """Return the ANC expected of n independent normal sentences: √(2 / (π (n − 1))).

    Example:
        >>> round(neuron_correlation_chance(100), 4)
        0.0802
    """
    return math.sqrt(2 / (math.pi * (n - 1)))


def _absolute(between: Tensor, of_x: Tensor, of_y: Tensor) -> Tensor:
    correlation = quotient(between.abs(), of_x.clamp_min(0).sqrt() * of_y.clamp_min(0).sqrt())
    return torch.clamp(correlation, max=1)


NEURON_CORRELATION = Metric(
    "anc",
    "Neuron-wise correlation",
    "hidden",
    neuron_correlation_per_pair,
    over="states",
    bounds=None,
    chance=neuron_correlation_chance,
    has_floor=False,
    unit="mean absolute correlation",
    least_pairs=_LEAST,
    definition=(
        "The correlation, over sentences, of each neuron's value in one language with its value "
        "in the other, averaged over neurons."
    ),
)
