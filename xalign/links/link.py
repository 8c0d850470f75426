"""`link_tokens` and `link_pairs` link the tokens of parallel sentences; `word_links` links their words."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from xalign.checks import known_options
from xalign.errors import ArgumentError, ArgumentTypeError, PairsError
from xalign.links import ALIGNERS
from xalign.links.aligner import Aligner, Links, OneWay
from xalign.links.cells import Sentence
from xalign.links.symmetrize import check_how, symmetrize
from xalign.model.tokenizer_state import keeping
from xalign.pairs.bitext import checked_sentences
from xalign.pairs.parallel import ParallelPairs

Tokenize = PreTrainedTokenizerBase | Callable[[str, str], Sequence[Any]]
"""A tokenizer, or a function (text, language) -> tokens."""


def link_tokens(
    language: Sequence[Sentence],
    pivot: Sequence[Sentence],
    *,
    aligner: str | Aligner = "ibm1",
    how: str = "intersection",
    **options: Any,
) -> Links:
    """Link the tokens of sentences with those of the sentences that they translate.

    Args:
        language: Sentences as tokens, ids or strings.
        pivot: The sentences that they translate; row i translates row i.
        aligner: `"ibm1"`, `"eflomal"`, or an `Aligner`.
        how: How the links of both directions are combined, as in `symmetrize`. The default keeps those that
            both have.
        **options: The options of the aligner; for `"ibm1"`, those of `xalign.links.ibm1.ibm1`.

    Returns:
        Per pair, links (language position, pivot position), counted from 0.

    Raises:
        ArgumentError: An unknown aligner or `how`, or an option out of range.
        ArgumentTypeError: An option that the aligner does not have.
        PairsError: Sides of unequal length, no pair, or a sentence without tokens.

    Example:
        >>> link_tokens([["das", "Haus"], ["das", "Buch"]], [["the", "house"], ["the", "book"]])
        [[(0, 0), (1, 1)], [(0, 0), (1, 1)]]
    """
    check_how(how)
    forward, backward = both_ways(language, pivot, aligner, **options)
    return symmetrize(forward.links, backward.links, how)


def both_ways(
    language: Sequence[Sentence], pivot: Sequence[Sentence], aligner: str | Aligner = "ibm1", **options: Any
) -> tuple[OneWay, OneWay]:
    """Run an aligner; the arguments and errors are those of `link_tokens`."""
    chosen = resolve_aligner(aligner)
    known_options(f"aligner {chosen.name}", options, chosen.options)
    return chosen.fn(language, pivot, **options)


def link_pairs(
    pairs: ParallelPairs,
    tokenize: Tokenize,
    *,
    aligner: str | Aligner = "ibm1",
    how: str = "intersection",
    **options: Any,
) -> dict[str, Links]:
    """Link the tokens of every pair, language by language.

    Args:
        pairs: Parallel sentences. The more there are, the better the links.
        tokenize: A tokenizer, whose special tokens are left out and not counted; or a function (text,
            language) -> tokens.
        aligner: As in `link_tokens`.
        how: As in `link_tokens`.
        **options: As in `link_tokens`.

    Returns:
        Language -> per pair, links (position in the sentence, position in the pivot sentence). Position k is
        the sentence's k-th own token, from 0.

    Raises:
        ArgumentError: As in `link_tokens`.
        PairsError: Spoken pairs, or a sentence for which the tokenizer gives no token.

    Example:
        >>> links = link_pairs(pairs, tokenizer)
        >>> len(links["deu_Latn"]) == len(pairs["deu_Latn"])
        True
    """
    found = {}
    for code, bitext in pairs.items():
        sides = (
            tokens_of(tokenize, side, name, bitext.ids)
            for side, name in ((bitext.sentences, code), (bitext.pivot_sentences, pairs.pivot))
        )
        found[code] = link_tokens(*sides, aligner=aligner, how=how, **options)
    return found


def word_links(links: Links, language: Sequence[Sequence[int]], pivot: Sequence[Sequence[int]]) -> Links:
    """Return the links between words: two words are linked if a token of one is linked to one of the other.

    Args:
        links: Per pair, links of token positions.
        language: Per sentence, the index of each token's word, from 0; negative for tokens of no word.
        pivot: The same for the pivot sentences.

    Raises:
        ArgumentError: Sides of unequal length, or a link to a token that is not there.

    Example:
        >>> word_links([[(0, 0), (1, 0), (2, 1)]], [[0, 0, 1]], [[0, 1]])
        [[(0, 0), (1, 1)]]
    """
    if not len(links) == len(language) == len(pivot):
        raise ArgumentError(
            f"links has {len(links)} pairs, language {len(language)} and pivot {len(pivot)}; they must be of "
            "the same pairs"
        )
    found: Links = []
    for row, (pair, ones, others) in enumerate(zip(links, language, pivot, strict=True)):
        if any(not (0 <= one < len(ones) and 0 <= other < len(others)) for one, other in pair):
            raise ArgumentError(f"pair {row} has a link to a token that is not there; of other sentences?")
        words = {(ones[one], others[other]) for one, other in pair}
        found.append(sorted(link for link in words if min(link) >= 0))
    return found


def resolve_aligner(aligner: str | Aligner) -> Aligner:
    """Return the aligner meant by a name or an `Aligner`.

    Raises:
        ArgumentError: A name that is not known.
        ArgumentTypeError: Something else.
    """
    if isinstance(aligner, Aligner):
        return aligner
    if not isinstance(aligner, str):
        raise ArgumentTypeError(f"aligner={aligner!r:.60} must be a name or an Aligner")
    if aligner not in ALIGNERS:
        raise ArgumentError(f"aligner={aligner!r:.60} must be one of {', '.join(ALIGNERS)}")
    return ALIGNERS[aligner]


def tokens_of(
    tokenize: Tokenize, sentences: Sequence[Any], language: str, ids: Sequence[str]
) -> list[Sequence[Any]]:
    """Split sentences into tokens, without special tokens.

    Args:
        tokenize: A tokenizer, or a function (text, language) -> tokens.
        sentences: The sentences.
        language: Their language.
        ids: Their names, for the error message.

    Raises:
        ArgumentTypeError: `tokenize` is neither.
        PairsError: Spoken sentences, or one without tokens, as where normalisation leaves nothing of it.
    """
    texts = list(checked_sentences(language, sentences))
    if isinstance(tokenize, PreTrainedTokenizerBase):
        with keeping(tokenize):
            coded: Mapping[str, Any] = tokenize(
                texts, add_special_tokens=False, padding=False, truncation=False, verbose=False
            )
        tokens = list(coded["input_ids"])
    elif callable(tokenize) and not isinstance(tokenize, type):
        tokens = [tokenize(text, language) for text in texts]
    else:
        raise ArgumentTypeError(
            f"tokenize={tokenize!r:.60} must be a tokenizer or a function (text, language) -> tokens"
        )
    empty = [name for name, row in zip(ids, tokens, strict=True) if not len(row)]
    if empty:
        raise PairsError(
            f"the tokenizer makes no token of sentence(s) {', '.join(empty[:5])} of {language}, as where its "
            "normalisation leaves nothing; they cannot be aligned: leave these rows out, or take a tokenizer "
            "that knows the script"
        )
    return tokens
