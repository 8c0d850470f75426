"""LAPE: neurons that fire for few languages, by the entropy of their activation probabilities."""

import math
from collections.abc import Callable
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
    """Neurons by how few languages they fire for.

    Attributes:
        score: Per neuron, the lower the more it belongs to few languages: without a penalty the entropy in
            nats, infinite where no language is over the bar.
        bar: The probability over which a language counts as firing a neuron.
        carried: Which languages fire which neurons: strictly over the bar.
        chosen: The selected neurons, the lowest score first.
        penalty: λ of the score, None for plain LAPE.
    """

    score: Float[Tensor, " neuron"]
    bar: float
    carried: Bool[Tensor, "language neuron"]
    chosen: Int[Tensor, " chosen"]
    penalty: float | None

    def neurons_of(self, language: int) -> Int[Tensor, " own"]:
        """The selected neurons that a language fires, the lowest score first; languages may share some."""
        return self.chosen[self.carried[language, self.chosen]]

    @property
    def reach(self) -> Int[Tensor, " neuron"]:
        """How many languages fire each neuron: 1 is specific, fewer than all related, all general."""
        return self.carried.sum(dim=0)


def lape(
    probability: Float[Tensor, "language neuron"],
    *,
    share: float = 0.01,
    bar: float = 0.95,
    penalty: float | Literal["auto"] | None = None,
) -> Lape:
    """Language activation probability entropy of all neurons, and those of a share that have the lowest.

    Plain (`penalty=None`): the entropy −Σ_k p'_k ln p'_k of a neuron's probabilities, normalised over the
    languages; neurons that no language fires are out. With a penalty λ, the entropy over ln K,
    less λ · max_k p_k / c_K with c_K = (Σ_j 1/j) / K, so that neurons which fire much are preferred; none
    is out beforehand, and those selected that no language fires belong to no language.

    Args:
        probability: Per language and neuron, the share of tokens at which the neuron's activation is > 0.
        share: The share of all neurons to select, rounded half to even. Fewer are, where fewer pass.
        bar: Which quantile of all probabilities is the bar: the round(bar · count)-th smallest of them.
        penalty: λ; `"auto"` takes the largest in [0, 0.2], to .001, with which no selected neuron is fired by
            all languages (0 where there is none such).

    Raises:
        ArgumentError: Fewer than 2 languages, probabilities outside [0, 1], a share or bar outside (0, 1], no
            neuron to select.
        ArgumentTypeError: Probabilities that are no floating-point tensor.

    Reference:
        Tang et al. (2024), Language-Specific Neurons, §2.2; with the penalty Zhang et al. (2025), How does
        Alignment Enhance LLMs' Multilingual Capabilities?, eq. 5, in the form of their code.

    Example:
        >>> probability = torch.tensor([[0.9, 0.5, 0.02, 0.3], [0.1, 0.5, 0.01, 0.8], [0.1, 0.5, 0.0, 0.7]])
        >>> found = lape(probability, share=0.25)
        >>> found.chosen.tolist(), round(found.score[0].item(), 4)
        ([0], 0.6002)
    """
    if not isinstance(probability, Tensor) or not probability.is_floating_point():
        raise ArgumentTypeError(
            f"probability must be a tensor of floating-point numbers, not {probability!r:.60}"
        )
    if probability.dim() != 2 or len(probability) < 2:
        raise ArgumentError(
            f"probability must be [language, neuron], at least 2 languages; it is {tuple(probability.shape)}"
        )
    if not bool(((probability >= 0) & (probability <= 1)).all()):
        raise ArgumentError("probability holds values that are not between 0 and 1")
    share, bar = positive("share", share), positive("bar", bar)
    if share > 1 or bar > 1:
        raise ArgumentError(f"share={share} and bar={bar} must be at most 1")
    probability = probability.double()
    threshold = probability.flatten().kthvalue(max(1, round(bar * probability.numel()))).values.item()
    carried = probability > threshold
    count = round(share * probability.shape[1])
    if count < 1:
        raise ArgumentError(f"share={share} of {probability.shape[1]} neurons is none; raise it")

    def select(weight: float | None) -> tuple[Tensor, Tensor]:
        score = _entropy(probability, weight)
        if weight is None:
            score = score.masked_fill(~carried.any(dim=0), torch.inf)
        order = score.sort(stable=True).indices[:count]
        return score, order[score[order].isfinite()]

    if penalty == "auto":
        penalty = _largest_penalty(lambda weight: bool(carried[:, select(weight)[1]].all(dim=0).any()))
    elif penalty is not None:
        penalty = positive("penalty", penalty, zero=True)
    score, chosen = select(penalty)
    return Lape(score, threshold, carried, chosen, penalty)


def _entropy(probability: Tensor, penalty: float | None) -> Tensor:
    """The entropy of each neuron, or the penalised score."""
    if penalty is None:
        shares = probability / probability.sum(dim=0)
        return -torch.xlogy(shares, shares).sum(dim=0).nan_to_num(0.0)
    languages = len(probability)
    floored = probability.clamp(min=1e-12)
    shares = floored / floored.sum(dim=0)
    entropy = -torch.xlogy(shares, shares).sum(dim=0) / math.log(languages)
    scale = sum(1 / rank for rank in range(1, languages + 1)) / languages
    return entropy - penalty * floored.amax(dim=0) / scale


def _largest_penalty(has_general: Callable[[float], bool]) -> float:
    """The largest penalty without a neuron of all languages among those selected, by bisection."""
    low, high = 0.0, _WIDEST_PENALTY
    if not has_general(high):
        return high
    while high - low > _PRECISION:
        middle = (low + high) / 2
        low, high = (low, middle) if has_general(middle) else (middle, high)
    return low
