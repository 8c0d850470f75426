"""Write Babel's text: parallel sentences to measure on, and documents to train on."""

import random
from collections.abc import Iterator, Sequence

from xalign.babel.lexicon import LANGUAGES
from xalign.babel.meanings import draw_meanings
from xalign.babel.splits import number_of, split_of, take_meanings
from xalign.babel.tokenizer import SEPARATOR
from xalign.errors import ArgumentError
from xalign.pairs.languages import match_languages
from xalign.pairs.parallel import ParallelPairs

_PIVOT = "eng_Latn"
_PARTS = {"spa_Latn": 10, "deu_Latn": 6, "rus_Cyrl": 3, "zho_Hans": 1}  # twentieths of the unequal mixture

MIXTURES = {
    "aligned": [(one, other) for one in LANGUAGES.values() for other in LANGUAGES.values() if one != other],
    "unaligned": [
        pair for other in LANGUAGES.values() if other != _PIVOT for pair in ((_PIVOT, other), (other, _PIVOT))
    ],
    "unequal": [
        pair
        for other, count in _PARTS.items()
        for pair in ((_PIVOT, other), (other, _PIVOT))
        for _ in range(count)
    ],
}
"""Mixture -> directions of its translations, each as often as its share.

`aligned` has all directions between the languages, `unaligned` those from and into English. `unequal` too,
but half of them are Spanish, 30 % German, 15 % Russian and 5 % Chinese.
"""


def write_pairs(
    n: int,
    seed: int,
    split: str = "train",
    *,
    languages: Sequence[str] | None = None,
    pivot: str = "eng_Latn",
) -> ParallelPairs:
    """Write parallel sentences, each with a different meaning.

    Args:
        n: How many, from 2 to the number of meanings in the split.
        seed: The same seed gives the same sentences.
        split: `train` (the models' training data), `held_out` (to measure on) or `task` (to test the
            transfer task). No meaning is in two of them.
        languages: Some of Babel's five languages; None takes all.
        pivot: The language that all others are compared with.

    Raises:
        ArgumentError: The split or a language is unknown, or n is larger than the number of meanings.
        ArgumentTypeError: n or the seed is not a whole number.

    Example:
        >>> from xalign.babel import write_pairs
        >>> pairs = write_pairs(100, seed=0, split="held_out")
        >>> list(pairs)
        ['spa_Latn', 'deu_Latn', 'rus_Cyrl', 'zho_Hans']
    """
    spoken = list(LANGUAGES.values())
    there = f"in Babel; it has {', '.join(spoken)}"
    chosen = spoken if languages is None else match_languages("languages", languages, spoken, there)
    (pivot,) = match_languages("pivot", [pivot], spoken, there)
    meanings = take_meanings(n, seed, split)
    return ParallelPairs(
        {code: [meaning.sentence(code) for meaning in meanings] for code in dict.fromkeys((pivot, *chosen))},
        pivot,
        ids=[f"babel-{number_of(meaning)}" for meaning in meanings],
        source=f"babel {split}, seed {seed}",
    )


def write_documents(
    mixture: str, seed: int, single_share: float = 0.1, split: str = "train"
) -> Iterator[str]:
    """Write documents without end: a sentence, the separator and its translation, or a single sentence.

    Args:
        mixture: `aligned` (translations between all languages), `unaligned` (from and into English only) or
            `unequal` (the same, with much Spanish and little Chinese; single sentences too).
        seed: The same seed gives the same documents.
        single_share: The share of documents that are a single sentence, in [0, 1].
        split: The split that the meanings are drawn from.

    Yields:
        One document after another.

    Raises:
        ArgumentError: The mixture is unknown.

    Example:
        >>> from itertools import islice
        >>> documents = list(islice(write_documents("aligned", seed=0), 100))
    """
    if mixture not in MIXTURES:
        raise ArgumentError(f"mixture={mixture!r} must be one of {', '.join(MIXTURES)}")
    random_state = random.Random(seed)
    singles = list(LANGUAGES.values())
    if mixture == "unequal":
        singles = [side for direction in MIXTURES[mixture] for side in direction]
    for meaning in draw_meanings(random_state):
        if split_of(meaning) != split:
            continue
        if random_state.random() < single_share:
            yield meaning.sentence(random_state.choice(singles))
        else:
            one, other = random_state.choice(MIXTURES[mixture])
            yield f"{meaning.sentence(one)} {SEPARATOR} {meaning.sentence(other)}"
