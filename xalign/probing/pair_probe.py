"""A linear probe that tells good sentences from bad ones, tested on unseen pairs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xalign.checks import whole_number
from xalign.errors import ArgumentError
from xalign.metrics.l2_logistic import l2_logistic

FOLDS = 5
_SPREAD = 1e-10  # directions with less of the largest variance are rounding


@dataclass(frozen=True, slots=True)
class PairProbe:
    """What a probe makes of good and bad sentences.

    Attributes:
        good: Whether each good sentence was called good, while its pair was held out.
        bad: Whether each bad one was called bad.
    """

    good: Bool[Tensor, " pair"]
    bad: Bool[Tensor, " pair"]

    @property
    def per_pair(self) -> Float[Tensor, " pair"]:
        """Per pair the share of its two sentences that were judged right: 0, ½ or 1."""
        return (self.good.double() + self.bad.double()) / 2

    @property
    def accuracy(self) -> float:
        """The share of sentences that were judged right; ½ by chance."""
        return float(self.per_pair.mean())

    @property
    def f1(self) -> float:
        """The F1 score of good sentences; 0 where none was called good."""
        hits = float(self.good.sum())
        called = hits + float((~self.bad).sum())
        return 2 * hits / (called + len(self.good)) if called else 0.0


def pair_probe(
    good: Float[Tensor, "pair width"],
    bad: Float[Tensor, "pair width"],
    *,
    folds: int = FOLDS,
    groups: Sequence[str] | None = None,
) -> PairProbe:
    """Judge every pair by a probe that was trained on the other folds.

    The probe is logistic regression on standardised states, with an L2 penalty (C = 1). Both sentences of a
    pair are in one fold, and so are pairs of one group; the groups are dealt out in turns. If two pairs that
    exchanged a word were in different folds, a probe that knows words would do worse than chance: the word
    that is good here was bad in what it learnt from.

    Args:
        good: States of the good sentences.
        bad: Those of the bad ones.
        folds: The number of folds.
        groups: The name of each pair's group; a pair with an empty name is a group by itself.

    Raises:
        ArgumentError: Sides of different length, or fewer groups than folds.

    Reference:
        He et al. (2025), Large Language Models as Neurolinguistic Subjects, whose details are recalled; split
        by pair, standardised, C = 1 and 5 folds are choices of xalign.

    Example:
        >>> good = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
        >>> pair_probe(good, good + torch.tensor([9.0, 0, 0, 0])).accuracy
        1.0
    """
    n, folds = len(good), whole_number("folds", folds, least=2)
    numbers = _numbers(groups or [""] * n)
    if not n == len(bad) == len(numbers) or max(numbers, default=-1) + 1 < folds:
        raise ArgumentError(
            f"there are {n} good and {len(bad)} bad sentences in {len(set(numbers))} group(s); give as many "
            f"of both, in at least {folds} groups"
        )
    fold = torch.tensor(numbers) % folds
    judged = torch.zeros(2, n, dtype=torch.bool)
    for number in range(folds):
        held = fold == number
        judged[:, held] = apply_probe((good[~held], bad[~held]), (good[held], bad[held]))
    return PairProbe(*judged)


def _numbers(groups: Sequence[str]) -> list[int]:
    """Return the number of each pair's group, in the order of their first pairs."""
    known: dict[str, int] = {}
    return [known.setdefault(name or f"\0{row}", len(known)) for row, name in enumerate(groups)]


def apply_probe(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> Bool[Tensor, "side pair"]:
    """Return per good and per bad sentence whether a probe of other pairs judges it right.

    Args:
        train: States of good and of bad sentences to learn from.
        test: States of good and of bad sentences to judge.

    Example:
        >>> good = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
        >>> bad = good + torch.tensor([9.0, 0, 0, 0])
        >>> apply_probe((good, bad), (bad, good)).any().item()  # good and bad exchanged
        False
    """
    known, asked = (torch.cat(side).double().numpy() for side in (train, test))
    mean, spread = known.mean(axis=0), known.std(axis=0)
    # A coordinate that is constant in training is rounding, if anything.
    scale = np.where(spread > _SPREAD * np.abs(known).max(), spread, np.inf)
    known, asked = (known - mean) / scale, (asked - mean) / scale
    if known.shape[1] > len(known):  # no weight can leave the span of the examples
        _, sizes, axes = np.linalg.svd(known, full_matrices=False)
        axes = axes[sizes > _SPREAD * sizes[0]].T if sizes[0] > 0 else axes[:1].T
        known, asked = known @ axes, asked @ axes
    is_good = np.arange(len(known)) < len(train[0])
    weights, intercept = l2_logistic(known, is_good)
    called_good = torch.from_numpy(asked @ weights + intercept > 0)
    return torch.stack([called_good[: len(test[0])], ~called_good[len(test[0]) :]])


def shuffled_sides(
    good: Float[Tensor, "pair width"], bad: Float[Tensor, "pair width"], seed: int
) -> tuple[Float[Tensor, "pair width"], Float[Tensor, "pair width"]]:
    """Return the same pairs, with a coin deciding in each which sentence is called good: a control.

    A probe that does better than chance on them has memorised the texts, and not what is good about them.

    Example:
        >>> good, bad = torch.zeros(4, 1), torch.ones(4, 1)
        >>> one, two = shuffled_sides(good, bad, seed=0)
        >>> (one + two).flatten().tolist()
        [1.0, 1.0, 1.0, 1.0]
    """
    coins = torch.rand(len(good), 1, generator=torch.Generator().manual_seed(seed)) < 0.5  # noqa: PLR2004
    return torch.where(coins, good, bad), torch.where(coins, bad, good)
