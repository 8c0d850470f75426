"""`compare_words`: whether related words are more similar inside a model than control pairs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from xalign.errors import ArgumentTypeError, PairsError
from xalign.finding.activations import Sites, sites_of
from xalign.metrics.angular import Scale, angular_similarity
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.architectures.map import map_model
from xalign.model.architectures.sites import Pool, Reading, Site
from xalign.model.batches import Line
from xalign.model.inputs import Inputs, TextOptions
from xalign.model.read import read_states
from xalign.pairs.lexicon import Word, WordPair
from xalign.statistics.partitions import MOST, PartitionTest, division_test
from xalign.statistics.welch import Welch, welch_test


@dataclass(frozen=True)
class WordComparison:
    """Related words against control pairs at one site.

    Attributes:
        site: Where the words were read.
        related: The angular similarity of each related pair.
        control: That of each control pair.
        welch: Welch's t-test of both: difference of means with its 95 % interval, t, two-sided p.
        permutation: The one-sided permutation test: how often a random division of all pairs has a difference
            as large.
    """

    site: Site
    related: tuple[float, ...]
    control: tuple[float, ...]
    welch: Welch
    permutation: PartitionTest

    def to_dict(self) -> dict[str, Any]:
        """Return the figures by name, without those of each pair."""
        return {
            "site": str(self.site),
            "related": float(np.mean(self.related)),
            "control": float(np.mean(self.control)),
            "difference": self.welch.difference,
            "low": self.welch.interval[0],
            "high": self.welch.interval[1],
            "t": self.welch.t,
            "degrees": self.welch.degrees,
            "p_welch": self.welch.p_value,
            "p_permutation": self.permutation.p_value,
            "pairs": len(self.related),
            "control_pairs": len(self.control),
        }


@takes_layout
def compare_words(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    related: Sequence[WordPair],
    control: Sequence[WordPair],
    sites: Sites = "hidden",
    *,
    scale: Scale = "unit",
    pool: Pool = "mean",
    seed: int = 0,
    most: int = MOST,
    token_budget: int = 8192,
) -> list[WordComparison]:
    """Test whether a model's states of related words are nearer to each other than those of control pairs.

    The state of a word is pooled over its own tokens in each of its contexts, and averaged over these.
    Similarity is 1 − angle / π. Control pairs tell what words of these languages have in common anyway. The
    tests assume that pairs are independent; with a word in several pairs, they are a little overconfident.

    Args:
        model: The model; it is only read.
        tokenizer: Its tokenizer, a fast one: its offsets tell a word's tokens from its context's.
        related: Pairs of words, at least 2.
        control: Pairs that are not related, at least 2.
        sites: Where to read, as in `find_units`: `"hidden"` is the embedding, every block
            and the final states.
        scale: `"unit"`, or `"signed"` as in the paper; see `angular_similarity`.
        pool: How the tokens of a word are pooled.
        seed: Seed of the divisions that are drawn if there are too many.
        most: The most divisions to look at, as in `partition_test`.
        token_budget: The most tokens in one forward pass, padding included.

    Returns:
        A comparison per site.

    Raises:
        PairsError: Fewer than 2 pairs of either kind.
        ArgumentError: A slow tokenizer, contexts longer than the model's, or sites that do not exist.
        ArgumentTypeError: Pairs of something other than `Word`.

    Reference:
        PhiloBERTA, arXiv 2503.05265: it averages over contexts the CLS state behind a further layer, which
        its released code draws at random. Here the word's own states are read.

    Example:
        >>> from xalign.pairs.lexicon import Word
        >>> german = [Word("de", "Haus", ["Das Haus ist alt."]), Word("de", "Hund"), Word("de", "Brot")]
        >>> english = [Word("en", "house", ["The house is old."]), Word("en", "dog"), Word("en", "bread")]
        >>> related = list(zip(german, english))
        >>> control = list(zip(german, english[1:] + english[:1]))
        >>> [str(one.site) for one in compare_words(model, tokenizer, related, control)]
        ['embed.hidden', '0.hidden', '1.hidden', '2.hidden', 'final.hidden']
    """
    words, rows = _numbered(related, control)
    found = []
    for site, states in _states(model, tokenizer, words, sites, pool, token_budget):
        near, far = (_similarities(states, of, scale) for of in rows)
        permutation = division_test(near, far, seed=seed, most=most)
        found.append(WordComparison(site, near, far, welch_test(near, far), permutation))
    return found


def _similarities(
    states: Float[Tensor, "word width"], pairs: Int[Tensor, "pair 2"], scale: Scale
) -> tuple[float, ...]:
    return tuple(angular_similarity(states[pairs[:, 0]], states[pairs[:, 1]], scale=scale).tolist())


def _numbered(
    related: Sequence[WordPair], control: Sequence[WordPair]
) -> tuple[list[Word], list[Int[Tensor, "pair 2"]]]:
    """Return the words of all pairs, each once, and both kinds of pairs by the numbers of their words."""
    for name, pairs in (("related", related), ("control", control)):
        _check_pairs(name, pairs)
    words = list(dict.fromkeys(word for pairs in (related, control) for pair in pairs for word in pair))
    place = {word: number for number, word in enumerate(words)}
    return words, [
        torch.tensor([[place[one], place[two]] for one, two in pairs]) for pairs in (related, control)
    ]


def _check_pairs(name: str, pairs: object) -> None:
    if isinstance(pairs, str) or not isinstance(pairs, Sequence):
        raise ArgumentTypeError(f"{name} must be a list of pairs of words, not {type(pairs).__name__}")
    for row, pair in enumerate(pairs):
        if not isinstance(pair, tuple) or len(pair) != 2 or not all(isinstance(one, Word) for one in pair):  # noqa: PLR2004
            raise ArgumentTypeError(f"{name}: entry {row} must be (Word, Word), not {pair!r:.60}")
    if len(pairs) < 2:  # noqa: PLR2004
        raise PairsError(f"{name} has {len(pairs)} pair(s); a test needs at least 2")


def _states(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    words: Sequence[Word],
    sites: Sites,
    pool: Pool,
    token_budget: int,
) -> Iterator[tuple[Site, Float[Tensor, "word width"]]]:
    """Yield, site by site, the state of each word: the mean over its contexts."""
    inputs = Inputs(model, tokenizer)
    lines = [_lines(inputs, word) for word in words]
    word = torch.tensor([number for number, one in enumerate(lines) for _ in one])
    batches = inputs.batches([line for one in lines for line in one], token_budget=token_budget)
    readings = {site: Reading(site, "value", pool) for site in sites_of(model, map_model(model), sites)}
    states = read_states(model, batches, readings.values())
    for site, reading in readings.items():
        values = states.pop(reading).double()
        sums = torch.zeros(len(words), values.shape[1], dtype=torch.float64).index_add_(0, word, values)
        yield site, sums / word.bincount().unsqueeze(1)


def _lines(inputs: Inputs, word: Word) -> list[Line]:
    """Return the contexts of a word as token ids, with a mask of the word's own tokens."""
    lines = []
    for number, (text, (start, end)) in enumerate(word.occurrences):
        template = f"{text[:start]}{{text}}{text[end:]}"
        name = f"{number} of {word.forms[0]!r}"
        encoded = inputs.encode([text[start:end]], word.language, TextOptions(template=template), [name])
        lines += encoded.lines
    return lines
