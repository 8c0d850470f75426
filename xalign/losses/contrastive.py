"""Contrastive loss: each sentence must pick its translation out of the batch.

Loss and gradients of finite vectors are finite. With C candidates and margin m the loss lies in
[0, (2 + m)/τ + log C]. In one process, and with at least two pairs, the gradient at a vector of length r is
at most

- 1 / (τ · r) long, where vectors are compared as they are;
- 2 / (τ · r) long, where they are centred; r is then the shortest length of a centred vector of its side.

The bounds leave out vectors without a direction: their cosines are 0, and so is their gradient. These are
vectors of length up to 1e-12, in float16 up to 2 / (65504 τ), and those of which centring leaves nothing but
the rounding of the mean, such as equal vectors.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from xalign.checks import positive
from xalign.losses.candidates import DIRECTIONS, Candidates, Direction, candidates_of
from xalign.losses.direction import checked_temperature
from xalign.losses.loss import Loss

__all__ = ["CONTRASTIVE", "DIRECTIONS", "Direction", "contrastive"]


def contrastive(
    language: Float[Tensor, "pair width"],
    pivot: Float[Tensor, "pair width"],
    *,
    temperature: float = 0.05,
    margin: float = 0.0,
    direction: Direction = "both",
    languages: Int[Tensor, " pair"] | None = None,
    same: Int[Tensor, "pair *mark"] | None = None,
    extra: Float[Tensor, "extra width"] | None = None,
    detach_pivot: bool = False,
    gather: bool = False,
) -> Float[Tensor, ""]:
    """Compute InfoNCE over the pairs of a batch.

    With s_ij = cos(language_i, pivot_j) / τ, `to_pivot` is the mean over i of −s_ii + log Σ_j exp(s_ij),
    `from_pivot` is the same with the two sides swapped, and `both` is the mean of the two. At random the loss
    is about the logarithm of the number of candidates; at best it is 0. If all vectors point one way, it is
    that logarithm too, so collapse to a point is not a minimum. But the representations of all languages may
    become the same, and the model may forget how to write them: `detach_pivot` and replayed text guard
    against that. Bounds are given at the top of this module.

    Args:
        language: A vector per sentence.
        pivot: A vector per pivot sentence; row i translates row i.
        temperature: τ, at least 1e-4; the lower it is, the more the hardest negatives count.
        margin: Subtracted from the cosine of each translation; see `additive_margin`.
        direction: Which side picks its translation among candidates of the other.
        languages: A number per pair, equal within a language. If given, the mean over the batch is first
            subtracted from each language's vectors and from the pivot's, because it mostly encodes the
            language.
        same: A number per pair, equal for pairs with the same meaning, which are then not each other's
            negatives. Or several numbers per pair; one in common is enough.
        extra: Further pivot sentences, negatives for every sentence in direction `to_pivot`.
        detach_pivot: Give the pivot side no gradient: the languages move, and the pivot stays.
        gather: Take candidates from all processes. Each process's loss is over its own sentences; the mean
            over processes, which data-parallel training takes of gradients, is that of the whole batch.

    Raises:
        ArgumentError: Sides of different shapes, fewer than 2 candidates, or an option that is not allowed.

    Reference:
        Liu and Niehues (2025), Middle-Layer Representation Alignment, §3.2: `to_pivot` with τ = 0.1.
        Feng et al. (2022), LaBSE, for both directions and candidates of all devices.

    Example:
        >>> aligned = torch.eye(4)
        >>> contrastive(aligned, aligned).item() < 0.001
        True
    """
    temperature, margin = checked_temperature(temperature), positive("margin", margin, zero=True)
    candidates = candidates_of(
        language, pivot, direction, languages, same, extra, detach_pivot, gather, temperature
    )
    return _info_nce(candidates, direction, temperature, margin)


CONTRASTIVE = Loss("contrastive", contrastive, needs_negatives=True)


def _info_nce(
    candidates: Candidates, direction: Direction, temperature: float, margin: float
) -> Float[Tensor, ""]:
    losses = []
    for picks in candidates.picks(direction):
        less = margin * one_hot(picks.targets, picks.cosines.shape[1]).to(picks.cosines)
        scores = ((picks.cosines - less) / temperature).masked_fill(picks.hidden, -torch.inf)
        losses.append(cross_entropy(scores, picks.targets))
    return torch.stack(losses).mean()
