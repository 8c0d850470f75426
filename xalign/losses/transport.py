"""Transport loss: the tokens of a sentence lie near those of its translation, in whatever order."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

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

    P is the entropic plan of `sinkhorn`, without a gradient: where it has converged, the gradient of the loss
    is that of the entropy-regularised transport cost (envelope theorem). Other pairs do not enter, so the
    loss is exact under gradient accumulation.

    Bounds: the gradient at a token of length r is at most (1 / tokens + tolerance) / (pairs · r) long, with
    `debiased` twice that. A token of length up to 1e-12 (in float16, 3e-5) has no direction: it costs 1 to
    carry from or to it, and its gradient is 0.

    Collapse: all tokens pointing one way is a perfect score. `detach_pivot` guards against it, because a
    pivot that does not move stays spread out. `debiased` helps: tokens of one sentence that come together
    gain nothing. Tokens of all languages may become the same; replayed text helps in part.

    Args:
        language: A vector per token.
        pivot: A vector per token of the pivot sentence; row i translates row i.
        language_mask: True at tokens that count.
        pivot_mask: The same of the pivot.
        temperature: ε, how soft the plan is, at least 1e-4; at 0 it would be an exact matching.
        debiased: Subtract half of what it costs to carry each side to itself under the same ε, which is 0
            for ε → 0 alone. The loss of equal sides is then 0, and lies in [−1, 2].
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
    shortest = shortest_of(language, pivot)
    language, pivot = checked_tokens(language, pivot, language_mask, pivot_mask)
    pivot = pivot.detach() if detach_pivot else pivot
    sides = (
        (token_directions(language, shortest), language_mask),
        (token_directions(pivot, shortest), pivot_mask),
    )

    def carried(one: Side, other: Side) -> Float[Tensor, " pair"]:
        cost = _costs(one[0], other[0])
        solved = sinkhorn(
            cost,
            one[1],
            other[1],
            temperature=temperature,
            tolerance=tolerance,
            iterations=iterations,
            symmetric=one is other,
        )
        return (solved.plan * cost).sum(dim=(1, 2))

    costs = carried(*sides)
    if boolean("debiased", debiased):
        costs = costs - (carried(sides[0], sides[0]) + carried(sides[1], sides[1])) / 2
    return costs.mean()


def _costs(
    language: Float[Tensor, "pair token width"], pivot: Float[Tensor, "pair pivot_token width"]
) -> Float[Tensor, "pair token pivot_token"]:
    """Compute 1 − cos of all tokens of a pair, in full precision also under autocast."""
    with torch.autocast(language.device.type, enabled=False):
        return 1 - language @ pivot.transpose(1, 2)


TRANSPORT = Loss("transport", transport, level="token")
