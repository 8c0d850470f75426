"""`Survival`: which aligned sentences stay aligned once sentences are changed."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xalign.statistics.documents import Documents
from xalign.statistics.intervals import KnownInterval, bootstrap_interval, known_interval, paired_p_value
from xalign.statistics.wilson import part_interval

_WORST = -1.0  # a cosine that wins against nothing


@dataclass(frozen=True, eq=False)
class Survival:
    """The bits of the sentences that were changed, without and with their change.

    Attributes:
        before: The bit of each layer and changed sentence as it was.
        after: The bit with the change.
        documents: Which of the changed sentences are from one document, where intervals resample documents.
    """

    before: Bool[np.ndarray, "layer pair"]
    after: Bool[np.ndarray, "layer pair"]
    documents: Documents | None

    @property
    def survived(self) -> float | None:
        """The share of bits that are still 1, among those that were 1, over all layers; None without any."""
        aligned = self.before.sum()
        return float((self.before & self.after).sum() / aligned) if aligned else None

    @property
    def survived_by_layer(self) -> list[float | None]:
        """The share of each layer."""
        return [
            float((was & now).sum() / was.sum()) if was.any() else None
            for was, now in zip(self.before, self.after, strict=True)
        ]

    def interval(self) -> KnownInterval:
        """Return the 95 % interval of `survived`, over documents or sentences."""
        kept = (self.before & self.after).mean(axis=0)
        return part_interval(kept, self.before.mean(axis=0), documents=self.documents)

    @property
    def differences(self) -> Float[np.ndarray, " pair"]:
        """By how much each sentence's mean over layers changes."""
        differences: Float[np.ndarray, " pair"] = self.after.mean(axis=0) - self.before.mean(axis=0)
        return differences

    def difference_interval(self, seed: int) -> KnownInterval:
        """Return the 95 % interval of the mean difference; None twice where all are equal."""
        if len(self.differences) < 2:
            return None, None
        return known_interval(*bootstrap_interval(self.differences, seed=seed, documents=self.documents))

    def p_value(self, seed: int) -> float:
        """Return the two-sided p-value of the mean difference, by flipping signs."""
        return paired_p_value(self.differences, seed=seed, documents=self.documents)


def bits_among(
    compute: Callable[[Tensor], Tensor],
    similarity: Float[Tensor, "pair pair"],
    changed: Float[Tensor, "pair pair"],
    rows: Bool[np.ndarray, " pair"],
    side: str,
) -> Tensor:
    """Return a metric's bits where the changed sentences compete with the true ones.

    Each changed sentence is an additional candidate, in a column of its own (a row, if pivot sentences are
    changed). The filler paired with it has the lowest similarity to everything, so that it never wins.

    Args:
        compute: The function of a similarity matrix, pivot sentences in rows.
        similarity: The similarity of the pairs as they are.
        changed: The similarity with the changed sentences in place of the true ones.
        rows: Which sentences were changed.
        side: `"languages"` or `"pivot"`: whose sentences were.

    Returns:
        One value per pair, as they are.
    """
    n, candidates = len(similarity), torch.from_numpy(np.flatnonzero(rows))
    wide = torch.full((n + len(candidates),) * 2, _WORST, dtype=similarity.dtype)
    wide[:n, :n] = similarity
    if side == "pivot":
        wide[n:, :n] = changed[candidates]
    else:
        wide[:n, n:] = changed[:, candidates]
    return compute(wide)[:n]
