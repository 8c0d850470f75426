"""`alignability`: whether the tokens of translations can be matched one to one, by a tokenizer alone."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float
from transformers import PreTrainedTokenizerBase

from xalign.checks import whole_number
from xalign.errors import ArgumentError, PairsError
from xalign.links.aligner import Aligner
from xalign.links.cells import Sentence
from xalign.links.link import Tokenize, both_ways, resolve_aligner, tokens_of
from xalign.links.symmetrize import check_how, symmetrize
from xalign.metrics.token_overlap import jensen_shannon, token_jaccard
from xalign.pairs.bitext import Bitext
from xalign.pairs.parallel import ParallelPairs
from xalign.pairs.words import writes_spaces
from xalign.statistics.ratios import ratio_difference_interval, ratio_interval


@dataclass(frozen=True)
class Alignability:
    """What a tokenizer makes of a language and its pivot.

    Attributes:
        language: The language.
        metric: The name of the score with its aligner, like `alignability_ibm1`. Scores of different aligners
            cannot be compared.
        one_to_one: The share of the tokens of both sides, in [0, 1], that are linked with exactly one token,
            which itself has no other link.
        low: The lower end of its 95 % interval over sentences; the links are not learnt again for it.
        high: The upper end.
        shuffled: The same share when each sentence is paired with that of another row: the floor.
        of_language: The share of the language's tokens that are linked one to one.
        of_pivot: The share of the pivot's tokens that are linked one to one.
        null_of_language: The share of the language's tokens without a link.
        null_of_pivot: The share of the pivot's tokens without a link.
        cost: The negative mean log-probability, in nats, of the best translation of each token, averaged over
            sentences and over both directions; lower is better.
        jaccard: The share of token types that both sides have, in [0, 1].
        jensen_shannon: The divergence of both sides' token distributions, in bits, in [0, 1].
        tokens: Tokens of the language's sentences, without special tokens.
        pivot_tokens: Tokens of the pivot's sentences.
        tokens_per_word: Tokens per word between spaces; None for scripts that write no spaces.
        pivot_tokens_per_word: The same for the pivot.
        unknown: The share of the language's tokens that are the tokenizer's unknown token. Where it is large,
            the other figures say little. None if `tokenize` was a function.
        pairs: The number of pairs.
        linked: Per pair, how many tokens of both sides are linked one to one.
        counted: Per pair, how many tokens both sides have together.
    """

    language: str
    metric: str
    one_to_one: float
    low: float
    high: float
    shuffled: float
    of_language: float
    of_pivot: float
    null_of_language: float
    null_of_pivot: float
    cost: float
    jaccard: float
    jensen_shannon: float
    tokens: int
    pivot_tokens: int
    tokens_per_word: float | None
    pivot_tokens_per_word: float | None
    unknown: float | None
    pairs: int
    linked: Float[np.ndarray, " pair"] = field(repr=False, compare=False)
    counted: Float[np.ndarray, " pair"] = field(repr=False, compare=False)

    @property
    def parity(self) -> float:
        """The number of tokens of the language per token of the pivot, over the same sentences."""
        return self.tokens / self.pivot_tokens

    def to_dict(self) -> dict[str, Any]:
        """Return the figures by name, without those of each pair."""
        found = {name: value for name, value in vars(self).items() if name not in ("linked", "counted")}
        return found | {"parity": self.parity}


def alignability(
    tokenize: Tokenize,
    pairs: ParallelPairs,
    *,
    aligner: str | Aligner = "ibm1",
    how: str = "intersection",
    seed: int = 0,
    **options: Any,
) -> list[Alignability]:
    """Measure how well the tokens of sentences and of their translations can be matched, without a model.

    Tokens are linked by an aligner that learns from these pairs alone. A token counts if it is linked with
    one token, which is linked with no other. The result also holds the same share for shuffled lines, and
    figures that need no links: shared tokens, the divergence of the token distributions, and the number of
    tokens per word.

    Args:
        tokenize: A tokenizer, whose special tokens are left out; or a function (text, language) -> tokens.
        pairs: Parallel sentences; a few hundred.
        aligner: `"ibm1"`, which is built in, `"eflomal"` where it is installed, or an `Aligner`.
        how: How the links of both directions are combined, as in `symmetrize`. The default keeps the links
            that both directions have, because these tell translations from shuffled lines.
        seed: The seed of the shuffled lines and of the intervals.
        **options: The options of the aligner.

    Returns:
        One result per language.

    Raises:
        ArgumentError: An unknown aligner or `how`, or options that the aligner does not take.
        PairsError: Spoken pairs, or a sentence for which the tokenizer gives no token.

    Reference:
        The share of one-to-one links: arXiv 2502.06468, with eflomal, priors from other text and
        `"grow_diag_final_and"`.

    Example:
        >>> (found,) = alignability(tokenizer, pairs)
        >>> found.metric, found.language, found.one_to_one > found.shuffled
        ('alignability_ibm1', 'deu_Latn', True)
    """
    seed, chosen = whole_number("seed", seed), resolve_aligner(aligner)
    check_how(how)
    found = []
    for code, bitext in pairs.items():
        if bitext.is_audio:
            raise PairsError(f"{code} is spoken, and a tokenizer takes text; pass written pairs")
        language, pivot = _tokens(tokenize, bitext)
        mixed, _ = _tokens(tokenize, bitext.shuffled(seed))
        one = _of(bitext, language, pivot, mixed, chosen, how, seed, options)
        found.append(replace(one, unknown=_unknown(tokenize, language)))
    return found


def _tokens(tokenize: Tokenize, bitext: Bitext[Any]) -> tuple[list[Sentence], list[Sentence]]:
    """Return the tokens of both sides."""
    return (
        tokens_of(tokenize, bitext.sentences, bitext.language, bitext.ids),
        tokens_of(tokenize, bitext.pivot_sentences, bitext.pivot, bitext.ids),
    )


def _of(
    bitext: Bitext[Any],
    language: Sequence[Sentence],
    pivot: Sequence[Sentence],
    mixed: Sequence[Sentence],
    aligner: Aligner,
    how: str,
    seed: int,
    options: dict[str, Any],
) -> Alignability:
    """Return the figures of one language."""
    counts, cost = _counts(language, pivot, aligner, how, options)
    floor, _ = _counts(mixed, pivot, aligner, how, options)
    tokens, pivot_tokens = (sum(map(len, side)) for side in (language, pivot))
    counted = np.array([len(one) + len(two) for one, two in zip(language, pivot, strict=True)], dtype=float)
    linked, one_to_one = 2 * counts[:, 0], int(counts[:, 0].sum())
    low, high = ratio_interval(linked, counted, seed=seed)
    return Alignability(
        language=bitext.language,
        metric=f"alignability_{aligner.name}",
        one_to_one=2 * one_to_one / (tokens + pivot_tokens),
        low=low,
        high=high,
        shuffled=2 * int(floor[:, 0].sum()) / (tokens + pivot_tokens),
        of_language=one_to_one / tokens,
        of_pivot=one_to_one / pivot_tokens,
        null_of_language=1 - int(counts[:, 1].sum()) / tokens,
        null_of_pivot=1 - int(counts[:, 2].sum()) / pivot_tokens,
        cost=cost,
        jaccard=token_jaccard(language, pivot),
        jensen_shannon=jensen_shannon(language, pivot),
        tokens=tokens,
        pivot_tokens=pivot_tokens,
        tokens_per_word=_per_word(tokens, bitext.sentences, bitext.language),
        pivot_tokens_per_word=_per_word(pivot_tokens, bitext.pivot_sentences, bitext.pivot),
        unknown=None,
        pairs=len(bitext),
        linked=linked,
        counted=counted,
    )


def _counts(
    language: Sequence[Sentence],
    pivot: Sequence[Sentence],
    aligner: Aligner,
    how: str,
    options: dict[str, Any],
) -> tuple[Float[np.ndarray, "pair 3"], float]:
    """Return, per pair, one-to-one links and linked tokens of both sides; and nats per token."""
    forward, backward = both_ways(language, pivot, aligner, **options)
    rows = []
    for links in symmetrize(forward.links, backward.links, how):
        ones, others = Counter(one for one, _ in links), Counter(other for _, other in links)
        alone = sum(ones[one] == 1 and others[other] == 1 for one, other in links)
        rows.append((alone, len(ones), len(others)))
    costs = [np.mean([one for one in side.scores if math.isfinite(one)]) for side in (forward, backward)]
    return np.array(rows, dtype=float), float(np.mean(costs))


def _unknown(tokenize: Tokenize, sentences: Sequence[Sentence]) -> float | None:
    if not isinstance(tokenize, PreTrainedTokenizerBase):
        return None
    tokens = [token for sentence in sentences for token in sentence]
    return tokens.count(tokenize.unk_token_id) / len(tokens)


def _per_word(tokens: int, sentences: Sequence[str], language: str) -> float | None:
    return tokens / sum(len(text.split()) for text in sentences) if writes_spaces(language) else None


def compare_alignability(
    first: Sequence[Alignability], second: Sequence[Alignability], *, seed: int = 0
) -> list[dict[str, Any]]:
    """Compare two tokenizers on the same pairs, language by language.

    Args:
        first: What `alignability` returned for one tokenizer.
        second: The same for another, on the same pairs with the same aligner.
        seed: The seed of the intervals.

    Returns:
        A row per language: `language`, `metric`, `difference` of the share of one-to-one tokens, first −
        second, and `low` and `high`, its 95 % interval, paired over sentences.

    Raises:
        ArgumentError: Results of different languages, aligners or numbers of pairs.

    Example:
        >>> found = alignability(tokenizer, pairs)
        >>> compare_alignability(found, found)[0]["difference"]
        0.0
    """
    kinds = [[(one.language, one.metric, one.pairs) for one in side] for side in (first, second)]
    if kinds[0] != kinds[1]:
        raise ArgumentError(
            "first and second must be of the same languages, aligner and pairs; one has "
            f"{kinds[0]!r:.120} and the other {kinds[1]!r:.120}"
        )
    rows = []
    for one, other in zip(first, second, strict=True):
        sides = (one.linked, one.counted), (other.linked, other.counted)
        low, high = ratio_difference_interval(*sides, seed=seed)
        difference = one.one_to_one - other.one_to_one
        rows.append(
            {
                "language": one.language,
                "metric": one.metric,
                "difference": difference,
                "low": low,
                "high": high,
            }
        )
    return rows
