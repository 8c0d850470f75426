"""The four sharing groups: in how many languages the last token of an item activates a neuron."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xalign.errors import ArgumentError
from xalign.metrics.metric import Metric

GROUPS = ("non_activated", "specific", "partial_shared", "all_shared")
"""The groups: neurons that are active in no language, in one, in several, or in all of them."""
_PARTIAL, _ALL = GROUPS.index("partial_shared"), GROUPS.index("all_shared")


def sharing_groups(active: Bool[Tensor, "language item neuron"]) -> Int[Tensor, "item neuron"]:
    """Return per item the number of each neuron's group in `GROUPS`.

    With two languages no neuron is partially shared.

    Args:
        active: Whether an item in a language activates a neuron; in the paper, whether its value is > 0.

    Raises:
        ArgumentError: Fewer than 2 languages.

    Reference:
        Wang et al. (2024), Sharing Matters, arXiv 2406.09265.

    Example:
        >>> active = torch.tensor([[[1, 1, 1, 0]], [[1, 1, 0, 0]], [[1, 0, 0, 0]]]).bool()
        >>> [GROUPS[number] for number in sharing_groups(active)[0]]
        ['all_shared', 'partial_shared', 'specific', 'non_activated']
    """
    if len(active) < 2:  # noqa: PLR2004
        raise ArgumentError(f"active is of {len(active)} language(s); sharing needs at least 2")
    count = active.sum(dim=0)
    groups = torch.where(count > 1, _PARTIAL, count)  # 0 and 1 are their own numbers
    return torch.where(count == len(active), _ALL, groups)


def expected_groups(rates: Float[Tensor, "language *item"]) -> Float[Tensor, "group *item"]:
    """Return the share of neurons expected in each group, if each language picked its neurons at random.

    With p_k the share of neurons that language k activates: Π p_k are active in all, Π (1 − p_k) in none,
    Σ_k p_k Π_{j≠k} (1 − p_j) in one, and the rest in several. The more languages, the fewer neurons are
    active in all of them by chance.

    Args:
        rates: The share of neurons that each language activates.

    Example:
        >>> expected_groups(torch.tensor([0.5, 0.5, 0.5]))
        tensor([0.1250, 0.3750, 0.3750, 0.1250], dtype=torch.float64)
    """
    active = rates.double()
    idle = 1 - active
    none, everywhere = idle.prod(dim=0), active.prod(dim=0)
    others = [torch.cat([idle[:k], idle[k + 1 :]]).prod(dim=0) for k in range(len(active))]
    one = (active * torch.stack(others)).sum(dim=0)
    return torch.stack([none, one, (1 - none - one - everywhere).clamp_min(0), everywhere])


def contribution_scores(
    values: Float[Tensor, "*item neuron"], norms: Float[Tensor, " neuron"]
) -> Float[Tensor, "*item neuron"]:
    """Return |m_i| · ‖v_i‖ per neuron: its value times the length of its column of the down projection.

    Reference:
        Wang et al. (2024), Sharing Matters; the code of its attribution.

    Example:
        >>> contribution_scores(torch.tensor([[-2.0, 0.5]]), torch.tensor([3.0, 2.0])).tolist()
        [[6.0, 1.0]]
    """
    return values.abs() * norms


def effective_scores(
    values: Float[Tensor, "item neuron"],
    columns: Float[Tensor, "neuron width"],
    answers: Float[Tensor, "item width"],
) -> Float[Tensor, "item neuron"]:
    """Return e_y · (m_i v_i) per neuron: how far it moves the state towards the embedding of the answer.

    Args:
        values: m, the neurons' values.
        columns: v, a row per neuron: its column of the down projection.
        answers: e, per item the row of the input embedding of the answer's first token.

    Returns:
        Signed scores. Without the final norm they are no logits.

    Reference:
        Wang et al. (2024), Sharing Matters; the code of its attribution.

    Example:
        >>> columns, answer = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[1.0, 3.0]])
        >>> effective_scores(torch.tensor([[2.0, -1.0]]), columns, answer).tolist()
        [[2.0, -6.0]]
    """
    return values * (answers @ columns.T)


def group_shares(
    scores: Float[Tensor, "item neuron"], groups: Int[Tensor, "item neuron"], top: int
) -> Float[Tensor, "group item"]:
    """Return which share of the `top` neurons with the largest scores belongs to each group.

    Of equal scores the lower index counts as larger.

    Args:
        scores: A score per neuron, such as its contribution.
        groups: The number of its group.
        top: How many neurons; the paper takes 800 of 16,384 (4.9 %).

    Raises:
        ArgumentError: `top` below 1, or beyond the number of neurons.

    Example:
        >>> scores, groups = torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([[3, 1, 0]])
        >>> group_shares(scores, groups, top=2)[:, 0].tolist()
        [0.0, 0.5, 0.0, 0.5]
    """
    if not 1 <= top <= scores.shape[1]:
        raise ArgumentError(f"top={top} must be from 1 to the number of neurons, {scores.shape[1]}")
    largest = scores.sort(dim=1, descending=True, stable=True).indices[:, :top]
    found = groups.gather(1, largest)
    return torch.stack([(found == number).double().mean(dim=1) for number in range(len(GROUPS))])


def shared_neurons(
    pivot: Float[Tensor, "pair neuron"], other: Float[Tensor, "pair neuron"]
) -> Float[Tensor, " pair"]:
    """Return, per pair, the share of the neurons activated by either sentence that both activate.

    It is the number of neurons active in both languages, divided by the number active in at least one. A
    neuron is active where its value at the last token is > 0. A pair that activates no neuron has 0.

    Example:
        >>> shared_neurons(torch.tensor([[1.0, 2.0, -1.0]]), torch.tensor([[3.0, -1.0, -2.0]])).tolist()
        [0.5]
    """
    one, two = pivot > 0, other > 0
    return _share((one & two).sum(dim=1).double(), (one | two).sum(dim=1).double())


def shared_by_chance(
    pivot: Float[Tensor, "pair neuron"], other: Float[Tensor, "pair neuron"]
) -> Float[Tensor, " pair"]:
    """Return `shared_neurons` as expected if both sentences picked as many neurons at random.

    Example:
        >>> half = torch.tensor([[1.0, 1.0, -1.0, -1.0]])
        >>> shared_by_chance(half, half).round(decimals=4).tolist()  # 1 of 3
        [0.3333]
    """
    _, one, _, both = expected_groups(torch.stack([_rate(pivot), _rate(other)]))
    return _share(both, one + both)


def _rate(values: Tensor) -> Tensor:
    return (values > 0).double().mean(dim=1)


def _share(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole > 0, part / torch.where(whole > 0, whole, 1.0), 0.0)


SHARED_NEURONS = Metric(
    "shared_neurons",
    "Shared neurons",
    "last_neurons",
    shared_neurons,
    over="states",
    has_floor=False,
    null=shared_by_chance,
    unit="share of active neurons",
    definition=("Of the neurons that a sentence or its translation activates, the share that both do."),
)
