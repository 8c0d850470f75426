"""Babel's text: parallel pairs to measure on, documents to learn from."""

import random
from collections.abc import Iterator, Sequence

from xalign.babel.lexicon import LANGUAGES
from xalign.babel.meanings import draw_meanings
from xalign.babel.splits import number_of, split_of, take_meanings
from xalign.babel.tokenizer import SEPARATOR
from xalign.errors import ArgumentError
from xalign.pairs.languages import normalize_language, normalize_languages
from xalign.pairs.parallel import ParallelPairs

MIXTURES = {
    "aligned": [(one, other) for one in LANGUAGES.values() for other in LANGUAGES.values() if one != other],
    "unaligned": [
        pair
        for other in LANGUAGES.values()
        if other != "eng_Latn"
        for pair in (("eng_Latn", other), (other, "eng_Latn"))
    ],
}
"""The directions of translation documents: between all languages, or only from and into English."""


def write_pairs(
    n: int,
    seed: int,
    split: str = "train",
    *,
    languages: Sequence[str] | None = None,
    pivot: str = "eng_Latn",
) -> ParallelPairs:
    """Writes parallel sentences, each of another meaning.

    Args:
        n: How many, from 2 to the number of meanings in the split.
        seed: Same seed, same sentences.
        split: `train` (what the models learn from), `held_out` (to measure on) or `task` (to test the
            transfer task on); no meaning is in two of them.
        languages: Some of Babel's five; all where absent.
        pivot: The language all others are compared with.

    Raises:
        ArgumentError: An unknown split or language, or an n larger than the number of meanings.
        ArgumentTypeError: An n or a seed that is no whole number.

    Example:
        >>> from xalign.babel import write_pairs
        >>> pairs = write_pairs(100, seed=0, split="held_out")
        >>> list(pairs)
        ['spa_Latn', 'deu_Latn', 'rus_Cyrl', 'zho_Hans']
    """
    spoken = list(LANGUAGES.values())
    pivot = normalize_language(pivot)
    chosen = spoken if languages is None else normalize_languages("languages", languages)
    unknown = [code for code in (*chosen, pivot) if code not in spoken]
    if unknown:
        raise ArgumentError(f"languages: {', '.join(unknown)} not in Babel; it has {', '.join(spoken)}")
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
    """Writes documents without end: a sentence, the separator, its translation; or a sentence alone.

    Args:
        mixture: `aligned` (translations between all languages) or `unaligned` (from and into English only).
        seed: Same seed, same documents.
        single_share: The share of documents that are a sentence alone.
        split: The split their meanings are from.

    Example:
        >>> from itertools import islice
        >>> documents = list(islice(write_documents("aligned", seed=0), 100))
    """
    if mixture not in MIXTURES:
        raise ArgumentError(f"mixture={mixture!r} must be one of {', '.join(MIXTURES)}")
    random_state = random.Random(seed)
    for meaning in draw_meanings(random_state):
        if split_of(meaning) != split:
            continue
        if random_state.random() < single_share:
            yield meaning.sentence(random_state.choice(list(LANGUAGES.values())))
        else:
            one, other = random_state.choice(MIXTURES[mixture])
            yield f"{meaning.sentence(one)} {SEPARATOR} {meaning.sentence(other)}"
