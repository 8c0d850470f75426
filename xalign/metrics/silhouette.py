"""Language silhouette: whether sentences cluster by language rather than by meaning."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from xalign.errors import ArgumentError
from xalign.metrics.centred import check_states
from xalign.metrics.cosine import cosine_matrix
from xalign.metrics.metric import Metric


def silhouette(
    states: Float[Tensor, "sentence width"], labels: Int[Tensor, " sentence"]
) -> Float[Tensor, " sentence"]:
    """Return the silhouette of each sentence among labels such as languages, with distance 1 − cos.

    With a the mean distance to the others of the sentence's label, and b the mean distance to the nearest
    other label, it is (b − a) / max(a, b); 0 for a sentence that is alone with its label.

    Args:
        states: A row per sentence, of all languages together.
        labels: The label of each.

    Returns:
        Values in [−1, 1]. A mean near 1 says that languages lie apart; one near 0 or below, that they do not.

    Raises:
        ArgumentError: Fewer than two labels.

    Reference:
        Rousseeuw (1987), Silhouettes; as `silhouette_samples` of scikit-learn.

    Example:
        >>> states = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        >>> silhouette(states, torch.tensor([0, 0, 1, 1])).tolist()
        [1.0, 1.0, 1.0, 1.0]
    """
    known, label = torch.unique(labels, return_inverse=True)
    if len(known) < 2:  # noqa: PLR2004
        raise ArgumentError("all sentences have one label; a silhouette needs two or more")
    distances = (1 - cosine_matrix(states, states)).clamp_min(0)
    distances.fill_diagonal_(0)
    of_label = torch.nn.functional.one_hot(label, len(known)).double()
    sums, sizes = distances @ of_label, of_label.sum(dim=0)
    own = label[:, None]
    others = (sizes[label] - 1).clamp_min(1)
    within = sums.gather(1, own)[:, 0] / others
    between = (sums / sizes).scatter(1, own, torch.inf).amin(dim=1)
    larger = torch.maximum(within, between)
    found = (between - within) / torch.where(larger == 0, 1.0, larger)
    return torch.where(sizes[label] == 1, 0.0, found)


def language_silhouette(
    pivot: Float[Tensor, "pair width"], other: Float[Tensor, "pair width"]
) -> Float[Tensor, " pair"]:
    """Return per pair the mean silhouette of its two sentences, with pivot and language as labels.

    Raises:
        ArgumentError: Sides of different length, or fewer than 2 pairs.

    Example:
        >>> one, two = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 1.0]])
        >>> language_silhouette(one, two).tolist()
        [1.0, 1.0]
    """
    n = check_states(pivot, other, 2)
    labels = torch.arange(2, device=pivot.device).repeat_interleave(n)
    values = silhouette(torch.cat([pivot, other]), labels)
    return (values[:n] + values[n:]) / 2


def permuted_silhouette(
    pivot: Float[Tensor, "pair width"], other: Float[Tensor, "pair width"]
) -> Float[Tensor, " pair"]:
    """Return `language_silhouette` after half of the pairs swapped languages: the value of random labels.

    Example:
        >>> one, two = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 1.0]])
        >>> permuted_silhouette(one, two).tolist()
        [-0.5, -0.5]
    """
    n = check_states(pivot, other, 2)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0)).to(pivot.device)
    swapped = torch.zeros(n, 1, dtype=torch.bool, device=pivot.device)
    swapped[order[: n // 2]] = True
    return language_silhouette(torch.where(swapped, other, pivot), torch.where(swapped, pivot, other))


SILHOUETTE = Metric(
    "silhouette",
    "Language silhouette",
    "hidden",
    language_silhouette,
    over="states",
    bounds=(-1.0, 1.0),
    has_floor=False,
    null=permuted_silhouette,
    unit="silhouette",
    higher_is_better=False,
    definition=(
        "How clearly states group by language: 1 where languages lie apart, about 0 where they "
        "mix, below 0 where sentences lie nearer to the other language."
    ),
)
