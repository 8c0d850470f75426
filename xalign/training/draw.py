"""Which rows a micro-batch holds if each is drawn anew: evenly from its languages, or by shares."""

import random
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate

Rows = list[tuple[str, int]]
"""Per pair, its language and its row."""


def draw_rows(
    order: random.Random,
    counts: Mapping[str, int],
    batch_size: int,
    n_languages: int,
    shares: Mapping[str, float] | None = None,
) -> Rows:
    """Return the language and the row of each pair of a micro-batch, drawn without replacement.

    Args:
        order: Decides what is drawn.
        counts: Language -> number of pairs.
        batch_size: Pairs of the micro-batch.
        n_languages: Parts of it, each of one language.
        shares: Language -> its share of the pairs, summing to 1; even shares if there are none. A micro-batch
            takes no more pairs of a language than it has.
    """
    if shares:
        chosen = _by_shares(order, [code for code in counts if code in shares], shares, n_languages)
    else:
        chosen = order.sample(list(counts), n_languages)
    few, more = divmod(batch_size, n_languages)
    sizes: dict[str, int] = {}
    for place, code in enumerate(chosen):
        sizes[code] = sizes.get(code, 0) + few + (place < more)
    return [
        (code, row)
        for code, size in sizes.items()
        for row in order.sample(range(counts[code]), min(size, counts[code]))
    ]


def shares_of(counts: Mapping[str, int], temperature: float) -> dict[str, float]:
    """Return language -> n^(1/T) / Σ n^(1/T), the mixing rule of multilingual pre-training.

    Args:
        counts: Language -> number of pairs n.
        temperature: T, above 0. 1 gives the shares of the sizes; the higher, the more even.

    Reference:
        Devlin et al. (2018), multilingual BERT, whose exponent .7 is T = 1.43; Arivazhagan et al. (2019),
        *Massively Multilingual Neural Machine Translation in the Wild*, §4.2, with T = 5.

    Example:
        >>> shares_of({"deu_Latn": 900, "swh_Latn": 100}, temperature=2)
        {'deu_Latn': 0.75, 'swh_Latn': 0.25}
    """
    largest = max(counts.values())
    weights = {code: (count / largest) ** (1 / temperature) for code, count in counts.items()}
    total = sum(weights.values())
    return {code: weight / total for code, weight in weights.items()}


def _by_shares(
    order: random.Random, codes: Sequence[str], shares: Mapping[str, float], count: int
) -> list[str]:
    """Return a language for each part of a micro-batch.

    Systematic sampling: a language stands in `count` times its share of the parts, on average exactly and in
    each micro-batch to within one part.
    """
    codes = order.sample(list(codes), len(codes))
    bounds = list(accumulate(shares[code] for code in codes))
    start = order.random()
    places = [(start + part) / count * bounds[-1] for part in range(count)]
    return [codes[min(bisect_right(bounds, place), len(codes) - 1)] for place in places]
