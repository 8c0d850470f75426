"""Precision, recall, F1 and alignment error rate of links against gold ones."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from xalign.errors import ArgumentError

_Link = tuple[int, int]


@dataclass(frozen=True, slots=True)
class LinkQuality:
    """How links agree with gold ones, counted over all pairs together.

    Attributes:
        precision: The share of links that are gold, possible ones too.
        recall: The share of sure gold links that were found.
        f1: Their harmonic mean.
        error_rate: The alignment error rate; without possible links it is 1 − F1.
        links: How many links there are.
        gold: How many sure gold links there are.
    """

    precision: float
    recall: float
    f1: float
    error_rate: float
    links: int
    gold: int


def link_quality(
    links: Sequence[Iterable[_Link]],
    sure: Sequence[Iterable[_Link]],
    possible: Sequence[Iterable[_Link]] | None = None,
) -> LinkQuality:
    """Compare links with gold ones.

    Args:
        links: Per pair, links of positions.
        sure: Per pair, the gold links that must be found.
        possible: Per pair, gold links that may be found, beside the sure ones.

    Raises:
        ArgumentError: Different numbers of pairs, no link, or no gold one.

    Reference:
        Och and Ney (2003), §6, for sure and possible links and the error rate.

    Example:
        >>> link_quality([[(0, 0), (1, 1)]], [[(0, 0), (1, 2)]])
        LinkQuality(precision=0.5, recall=0.5, f1=0.5, error_rate=0.5, links=2, gold=2)
    """
    may = [()] * len(sure) if possible is None else possible
    if not len(links) == len(sure) == len(may):
        raise ArgumentError(
            f"links are of {len(links)} pairs, sure of {len(sure)} and possible of {len(may)}; they must be "
            "of the same"
        )
    found, gold = [set(map(tuple, one)) for one in links], [set(map(tuple, one)) for one in sure]
    allowed = [set(map(tuple, one)) | must for one, must in zip(may, gold, strict=True)]
    n, n_gold = sum(map(len, found)), sum(map(len, gold))
    if not n or not n_gold:
        raise ArgumentError(
            f"there are {n} links and {n_gold} sure gold ones; at least one of each is needed"
        )
    of_sure = sum(len(one & must) for one, must in zip(found, gold, strict=True))
    of_allowed = sum(len(one & rest) for one, rest in zip(found, allowed, strict=True))
    precision, recall = of_allowed / n, of_sure / n_gold
    f1 = 2 * precision * recall / (precision + recall) if of_allowed and of_sure else 0.0
    return LinkQuality(precision, recall, f1, 1 - (of_sure + of_allowed) / (n + n_gold), n, n_gold)
