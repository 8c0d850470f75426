"""Transport loss: the tokens of a sentence lie near those of its translation, in whatever order."""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xalign.autocast import without_autocast
from xalign.checks import boolean
from xalign.losses.direction import shortest_of
from xalign.losses.loss import Loss
from xalign.losses.sinkhorn import ITERATIONS, TOLERANCE, sinkhorn
from xalign.losses.tokens import checked_tokens, token_directions

Side = tuple[Float[Tensor, "pair token width"], Bool[Tensor, "pair token"]]


def transport(
    language: Float[Tensor, "pair token width"],
    pivot: Float[Tensor, "pair pivot_token width"],
    *,
    language_mask: Bool[Tensor, "pair token"],
    pivot_mask: Bool[Tensor, "pair pivot_token"],
    temperature: float = 0.1,
    debiased: bool = False,
    tolerance: float = TOLERANCE,
    iterations: int = ITERATIONS,
    detach_pivot: bool = False,
) -> Float[Tensor, ""]:
    """Compute the mean over pairs of ⟨P, C⟩, C_ij = 1 − cos(token_i, pivot_token_j), in [0, 2].

    P is the entropic plan of `sinkhorn`, without a gradient: once converged, the gradient of the loss is that
    of the entropy-regularised cost (envelope theorem). Other pairs do not enter, so the loss is exact under
    gradient accumulation.

    Bounds: the gradient at a token of length r is at most (1 / tokens + tolerance) / (pairs · r) long, with
    `debiased` twice that. A token of length up to 1e-12 (in float16, 3e-5) has no direction: carrying mass
    from or to it costs 1, and its gradient is 0.

    Collapse: all tokens pointing one way is a perfect score. `detach_pivot` guards against it, because a
    pivot that does not move stays spread out. `debiased` helps: tokens of one sentence that come together
    gain nothing. Tokens of all languages may become the same; replayed text helps in part.

    Args:
        language: A vector per token of each sentence.
        pivot: The same for each pivot sentence; row i translates row i.
        language_mask: True at tokens that count.
        pivot_mask: The same for the pivot.
        temperature: ε, how soft the plan is.
        debiased: Subtract half of what it costs to carry each side to itself under the same ε. Equal sides
            then have the loss 0, and the loss may lie in [−1, 2].
        tolerance: As in `sinkhorn`: the plan's largest marginal error.
        iterations: As in `sinkhorn`: the most updates.
        detach_pivot: Give the pivot side no gradient.

    Raises:
        ArgumentError: Sides or masks of shapes that do not fit, no pair, a sentence without a token that
            counts, or a plan that does not converge.

    Reference:
        Li et al. (2025), POTSA, whose costs, ε and weights we could not read: a reconstruction.

    Example:
        >>> tokens, mask = torch.eye(3).unsqueeze(0), torch.ones(1, 3, dtype=torch.bool)
        >>> transport(tokens, tokens.flip(1), language_mask=mask, pivot_mask=mask).item() < 0.01
        True
    """
    sides = checked_tokens(language, pivot, language_mask, pivot_mask)
    mine, theirs = (token_directions(side, shortest_of(language, pivot)) for side in sides)
    one, other = (mine, language_mask), (theirs.detach() if detach_pivot else theirs, pivot_mask)
    solver: dict[str, Any] = {"temperature": temperature, "tolerance": tolerance, "iterations": iterations}
    costs = _carried(one, other, **solver)
    if boolean("debiased", debiased):
        costs = costs - (_carried(one, **solver) + _carried(other, **solver)) / 2
    return costs.mean()


TRANSPORT = Loss("transport", transport, level="token")


def _carried(one: Side, other: Side | None = None, **options: Any) -> Float[Tensor, " pair"]:
    """Compute per pair what it costs to carry one side to the other, or to itself where there is no other."""
    (tokens, mask), (others, other_mask) = one, one if other is None else other
    cost = _costs(tokens, others)
    plan = sinkhorn(cost, mask, other_mask, symmetric=other is None, **options).plan
    return (plan * cost).sum(dim=(1, 2))


def _costs(
    language: Float[Tensor, "pair token width"], pivot: Float[Tensor, "pair pivot_token width"]
) -> Float[Tensor, "pair token pivot_token"]:
    """Compute 1 − cos of all tokens of a pair, in full precision also under autocast."""
    return 1 - without_autocast(language.device.type, torch.matmul, language, pivot.transpose(1, 2))
