"""LAPE: neurons that fire for few languages, by the entropy of their activation probabilities."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xalign.checks import positive
from xalign.errors import ArgumentError, ArgumentTypeError

_WIDEST_PENALTY, _PRECISION = 0.2, 1e-3


@dataclass(frozen=True, slots=True)
class Lape:
    """Neurons ordered by how few languages they fire for.

    Attributes:
        score: Per neuron; the lower, the more it belongs to few languages. Without a penalty it is the
            entropy in nats, infinite if no language is over the bar.
        bar: The probability over which a language counts as firing a neuron.
        carried: Whether a language fires a neuron: its probability is strictly over the bar.
        chosen: The selected neurons, the lowest score first.
        penalty: λ of the score, None for plain LAPE.
    """

    score: Float[Tensor, " neuron"]
    bar: float
    carried: Bool[Tensor, "language neuron"]
    chosen: Int[Tensor, " chosen"]
    penalty: float | None

    def neurons_of(self, language: int) -> Int[Tensor, " own"]:
        """Return the selected neurons that a language fires, the lowest score first."""
        return self.chosen[self.carried[language, self.chosen]]

    @property
    def reach(self) -> Int[Tensor, " neuron"]:
        """How many languages fire each neuron: one is specific, several but not all related, all general."""
        return self.carried.sum(dim=0)


def lape(
    probability: Float[Tensor, "language neuron"],
    *,
    share: float = 0.01,
    bar: float = 0.95,
    penalty: float | Literal["auto"] | None = None,
) -> Lape:
    """Compute the language activation probability entropy of all neurons, and select those with the lowest.

    Plain (`penalty=None`), a score is the entropy −Σ_k p'_k ln p'_k of a neuron's probabilities, normalised
    over the K languages; neurons that no language fires are never selected. With a penalty λ it is the
    entropy divided by ln K, minus λ · max_k p_k / c_K with c_K = (Σ_j 1/j) / K, so that neurons which fire
    often are preferred; a neuron that no language fires may be selected, and then belongs to no language.

    Args:
        probability: Per language and neuron, the share of tokens at which the neuron's activation is > 0.
            Values outside [0, 1] are refused; where they are rounding, as in released data (up to 1.001),
            pass `probability.clamp(0, 1)`.
        share: The share of all neurons to select, rounded half to even; fewer if fewer pass.
        bar: Which quantile of all probabilities is the bar: the round(bar · count)-th smallest of them.
        penalty: λ; `"auto"` takes the largest in [0, 0.2], to .001, with which no selected neuron is fired by
            all languages, or 0.

    Returns:
        Scores, bar and selection.

    Raises:
        ArgumentError: Fewer than 2 languages, probabilities outside [0, 1], a share or bar outside (0, 1], or
            no neuron to select.
        ArgumentTypeError: Probabilities that are not a floating-point tensor.

    Reference:
        Tang et al. (2024), Language-Specific Neurons, §2.2; with the penalty Zhang et al. (2025), How does
        Alignment Enhance LLMs' Multilingual Capabilities?, eq. 5, in the form of their code.

    Example:
        >>> probability = torch.tensor([[0.9, 0.5, 0.02, 0.3], [0.1, 0.5, 0.01, 0.8], [0.1, 0.5, 0.0, 0.7]])
        >>> found = lape(probability, share=0.25)
        >>> found.chosen.tolist(), round(found.score[0].item(), 4)
        ([0], 0.6002)
    """
    _check_probability(probability)
    share, bar = positive("share", share), positive("bar", bar)
    if share > 1 or bar > 1:
        raise ArgumentError(f"share={share} and bar={bar} must be at most 1")
    count = round(share * probability.shape[1])
    if count < 1:
        raise ArgumentError(f"share={share} of {probability.shape[1]} neurons rounds to 0 neurons; raise it")
    probability = probability.double()
    threshold = probability.flatten().kthvalue(max(1, round(bar * probability.numel()))).values.item()
    carried = probability > threshold
    if penalty == "auto":
        penalty = _largest_penalty(probability, carried, count)
    elif penalty is not None:
        penalty = positive("penalty", penalty, zero=True)
    score, chosen = _select(probability, carried, count, penalty)
    return Lape(score, threshold, carried, chosen, penalty)


def _check_probability(probability: Tensor) -> None:
    """Raise an error for what is not a tensor of probabilities."""
    if not isinstance(probability, Tensor) or not probability.is_floating_point():
        raise ArgumentTypeError(
            f"probability must be a tensor of floating-point numbers, not {probability!r:.60}"
        )
    if probability.dim() != 2 or len(probability) < 2:
        raise ArgumentError(
            f"probability must be [language, neuron], at least 2 languages; it is {tuple(probability.shape)}"
        )
    if not bool(((probability >= 0) & (probability <= 1)).all()):
        low, high = probability.min().item(), probability.max().item()
        raise ArgumentError(
            f"probability holds values that are not between 0 and 1: they go from {low:.6g} to {high:.6g}. "
            "If only rounding took them there, pass probability.clamp(0, 1)"
        )


def _select(
    probability: Tensor, carried: Tensor, count: int, penalty: float | None
) -> tuple[Float[Tensor, " neuron"], Int[Tensor, " chosen"]]:
    """Return the score of every neuron, and the neurons with the lowest finite ones."""
    score = _entropy(probability, penalty)
    if penalty is None:
        score = score.masked_fill(~carried.any(dim=0), torch.inf)
    order = score.sort(stable=True).indices[:count]
    return score, order[score[order].isfinite()]


def _entropy(probability: Tensor, penalty: float | None) -> Tensor:
    """Return the entropy of each neuron, or the penalised score."""
    if penalty is None:
        shares = probability / probability.sum(dim=0)
        return -torch.xlogy(shares, shares).sum(dim=0).nan_to_num(0.0)
    languages = len(probability)
    floored = probability.clamp(min=1e-12)
    shares = floored / floored.sum(dim=0)
    entropy = -torch.xlogy(shares, shares).sum(dim=0) / math.log(languages)
    scale = sum(1 / rank for rank in range(1, languages + 1)) / languages
    return entropy - penalty * floored.amax(dim=0) / scale


def _largest_penalty(probability: Tensor, carried: Tensor, count: int) -> float:
    """Return the largest penalty that selects no neuron fired by all languages, found by bisection."""

    def selects_general(penalty: float) -> bool:
        _, chosen = _select(probability, carried, count, penalty)
        return bool(carried[:, chosen].all(dim=0).any())

    low, high = 0.0, _WIDEST_PENALTY
    if not selects_general(high):
        return high
    while high - low > _PRECISION:
        middle = (low + high) / 2
        low, high = (low, middle) if selects_general(middle) else (middle, high)
    return low
