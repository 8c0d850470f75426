"""Contrastive loss: each sentence must pick its translation out of the batch."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from xalign.errors import ArgumentError
from xalign.losses.gather import gathered
from xalign.losses.similarity import centred, check_marks, checked_sides, cosines, is_same

Direction = Literal["to_pivot", "from_pivot", "both"]
DIRECTIONS: tuple[Direction, ...] = ("to_pivot", "from_pivot", "both")


def contrastive(
    language: Float[Tensor, "pair width"],
    pivot: Float[Tensor, "pair width"],
    *,
    temperature: float = 0.05,
    direction: Direction = "both",
    languages: Int[Tensor, " pair"] | None = None,
    same: Int[Tensor, "pair *mark"] | None = None,
    extra: Float[Tensor, "extra width"] | None = None,
    detach_pivot: bool = False,
    gather: bool = False,
) -> Float[Tensor, ""]:
    """InfoNCE over the pairs of a batch.

    With s_ij = cos(language_i, pivot_j) / τ, `to_pivot` is the mean over i of −s_ii + log Σ_j exp(s_ij),
    `from_pivot` the same with the two sides swapped, and `both` the mean of the two. At random it is about
    the logarithm of the number of candidates, at best 0.

    Collapse: all vectors in one direction give the logarithm of the number of candidates, so that a point is
    no minimum. What can be lost is what the batch does not ask for: the languages may become one another's
    copies, and the model forget how to speak them. `detach_pivot` keeps the pivot where it is, replayed text
    keeps the language model.

    Args:
        language: A vector per sentence.
        pivot: A vector per pivot sentence; row i translates row i.
        temperature: τ > 0; the lower, the more the hardest negatives count.
        direction: Whose candidates are whose.
        languages: A number per pair, equal within a language. If given, each language's vectors and the
            pivot's lose their mean over the batch first, so that a sentence is not told by its language.
        same: A number per pair, equal for pairs of one meaning: those are not each other's negatives. Or
            several per pair, of which one must be equal.
        extra: Further pivot sentences, negatives for every sentence in direction `to_pivot`.
        detach_pivot: No gradient reaches the pivot side: the languages move, and the pivot stays.
        gather: Candidates of all processes; each process's loss is over its own sentences, and the mean
            over processes, which data-parallel training takes of gradients, is that of the whole batch.

    Raises:
        ArgumentError: Sides of different shapes, fewer than 2 candidates, τ ≤ 0, an unknown direction, or
            `extra` without `to_pivot`.

    Reference:
        Liu and Niehues (2025), Middle-Layer Representation Alignment, §3.2: there `to_pivot` and τ = 0.1.
        Feng et al. (2022), LaBSE, for both directions and candidates of all devices.

    Example:
        >>> aligned = torch.eye(4)
        >>> contrastive(aligned, aligned).item() < 0.001
        True
    """
    language, pivot = checked_sides(language, pivot)
    if not temperature > 0:
        raise ArgumentError(f"temperature={temperature!r} must be above 0, like 0.05")
    if direction not in DIRECTIONS:
        raise ArgumentError(f"direction={direction!r} must be one of {', '.join(DIRECTIONS)}")
    if extra is not None and direction == "from_pivot":
        raise ArgumentError("extra holds pivot sentences; direction='from_pivot' has none to tell apart")
    check_marks("languages", languages, len(pivot))
    check_marks("same", same, len(pivot))
    if extra is not None and (extra.dim() != 2 or extra.shape[1] != pivot.shape[1]):
        raise ArgumentError(
            f"extra must be [sentence, {pivot.shape[1]}] like pivot; it is {tuple(extra.shape)}"
        )
    if detach_pivot:
        pivot = pivot.detach()
        extra = None if extra is None else extra.detach()
    n = len(language)
    if gather:
        language, first = gathered(language)
        pivot, _ = gathered(pivot)
        languages = None if languages is None else gathered(languages)[0]
        same = None if same is None else gathered(same)[0]
    else:
        first = 0
    same = torch.arange(len(pivot), device=pivot.device) if same is None else same
    if len(pivot) + (0 if extra is None else len(extra)) < 2:
        raise ArgumentError("the batch has one pair, which has nothing to be told from; give at least 2")
    if languages is not None:
        middle = pivot.mean(dim=0)
        language, pivot = centred(language, languages), pivot - middle
        extra = None if extra is None else extra - middle
    own = slice(first, first + n)
    targets = torch.arange(first, first + n, device=language.device)
    # A pair of the same meaning is no negative; the pair itself stays.
    hidden = is_same(same[own], same).scatter(1, targets.unsqueeze(1), False)

    def towards(anchors: Tensor, candidates: Tensor, hidden: Tensor) -> Tensor:
        scores = (cosines(anchors[own], candidates) / temperature).masked_fill(hidden, -torch.inf)
        return cross_entropy(scores, targets)

    losses = []
    if direction != "from_pivot":
        if extra is None:
            losses.append(towards(language, pivot, hidden))
        else:
            shown = hidden.new_zeros(n, len(extra))
            candidates = torch.cat([pivot, extra.to(pivot.dtype)])
            losses.append(towards(language, candidates, torch.cat([hidden, shown], dim=1)))
    if direction != "to_pivot":
        losses.append(towards(pivot, language, hidden))
    return torch.stack(losses).mean()
