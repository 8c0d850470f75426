"""Which pairs a micro-batch trains on: drawn from the step and the rank, with nothing to save or restore."""

import random
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from jaxtyping import Int
from torch import Tensor

from xalign.checks import whole_number
from xalign.errors import ArgumentError, PairsError
from xalign.model.batches import Line
from xalign.model.inputs import Inputs, TextOptions
from xalign.pairs.parallel import ParallelPairs
from xalign.warn import warn

FEWEST_PER_LANGUAGE = 8


@dataclass(frozen=True, slots=True)
class PairBatch:
    """The pairs of one micro-batch.

    Attributes:
        names: Per pair, its language and its id.
        language_lines: Per pair, the sentence as token ids and which of them are pooled.
        pivot_lines: Per pair, the same of the pivot sentence.
        languages: Per pair, the number of its language.
        same: Per pair, a number of its sentence and one of its pivot sentence: pairs that share either are
            not each other's negatives.
    """

    names: list[tuple[str, str]]
    language_lines: list[Line]
    pivot_lines: list[Line]
    languages: Int[Tensor, " pair"]
    same: Int[Tensor, "pair 2"]


class PairStream:
    """Draws the pairs of a micro-batch from (seed, step, micro-step, rank) alone.

    A resumed run therefore draws the same pairs as an unbroken one, and each process draws its own. The pairs
    of a micro-batch are drawn without replacement, evenly from its languages.

    Args:
        pairs: The sentences.
        inputs: What the model takes.
        text: How sentences become tokens; the defaults of `TextOptions` where None.
        batch_size: Pairs of a micro-batch.
        languages_per_batch: How many languages a micro-batch holds, drawn anew for each; where None, as many
            as can have 8 pairs each.
        seed: Decides which pairs are drawn.

    Raises:
        ArgumentError: More languages per batch than there are languages, or than pairs in a batch.
        PairsError: A language with fewer pairs than a micro-batch may take of it.
    """

    def __init__(
        self,
        pairs: ParallelPairs,
        inputs: Inputs,
        text: TextOptions | None = None,
        *,
        batch_size: int,
        languages_per_batch: int | None = None,
        seed: int = 0,
    ) -> None:
        self.pairs, self.batch_size, self.seed = pairs, batch_size, whole_number("seed", seed)
        self.languages_per_batch = _languages_per_batch(pairs, batch_size, languages_per_batch)
        _refuse_too_few(pairs, -(-batch_size // self.languages_per_batch))
        _warn_about_copies(pairs)

        def lines(language: str, side: Sequence[str], ids: Sequence[str]) -> list[Line]:
            return inputs.encode(side, language, text, ids).lines

        self._lines: dict[str, tuple[list[Line], list[Line]]] = {}
        pivot: list[Line] = []
        is_multiway = pairs.is_multiway
        for language, bitext in pairs.items():
            if not (pivot and is_multiway):
                pivot = lines(pairs.pivot, bitext.pivot_sentences, bitext.ids)
            self._lines[language] = lines(language, bitext.sentences, bitext.ids), pivot
        self._numbers = _numbers(pairs)

    def rows(
        self,
        step: int,
        micro_step: int = 0,
        rank: int = 0,
        shares: Mapping[str, float] | None = None,
    ) -> list[tuple[str, int]]:
        """Return the language and the row of each pair of a micro-batch.

        Args:
            step: The number of optimizer steps done.
            micro_step: The index of the micro-batch within its step.
            rank: The rank of the process.
            shares: Language -> its share of the pairs, summing to 1; even shares where there are none. A
                micro-batch takes no more pairs of a language than it has.
        """
        order = random.Random(f"{self.seed} {step} {micro_step} {rank}")
        count = self.languages_per_batch
        if shares:
            chosen = _by_shares(order, [code for code in self.pairs if code in shares], shares, count)
        else:
            chosen = order.sample(list(self.pairs), count)
        few, more = divmod(self.batch_size, count)
        sizes: dict[str, int] = {}
        for place, code in enumerate(chosen):
            sizes[code] = sizes.get(code, 0) + few + (place < more)
        return [
            (code, row)
            for code, size in sizes.items()
            for row in order.sample(range(len(self.pairs[code])), min(size, len(self.pairs[code])))
        ]

    def draw(
        self,
        step: int,
        micro_step: int = 0,
        rank: int = 0,
        shares: Mapping[str, float] | None = None,
    ) -> PairBatch:
        """Return the pairs of a micro-batch, ready to run; the arguments are those of `rows`."""
        rows, codes = self.rows(step, micro_step, rank, shares), list(self.pairs)
        return PairBatch(
            names=[(code, self.pairs[code].ids[row]) for code, row in rows],
            language_lines=[self._lines[code][0][row] for code, row in rows],
            pivot_lines=[self._lines[code][1][row] for code, row in rows],
            languages=torch.tensor([codes.index(code) for code, _ in rows]),
            same=torch.tensor([self._numbers[code][row] for code, row in rows]),
        )


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


def _languages_per_batch(pairs: ParallelPairs, batch_size: int, asked: int | None) -> int:
    """Return the number of languages in a micro-batch: as asked for, or as many as can have 8 pairs each."""
    if asked is None:
        return min(len(pairs), max(1, batch_size // FEWEST_PER_LANGUAGE))
    count = whole_number("languages_per_batch", asked, least=1)
    most = min(len(pairs), batch_size)
    if count > most:
        raise ArgumentError(
            f"languages_per_batch={asked} must be at most {most}: there are {len(pairs)} languages, and "
            f"{batch_size} pairs in a batch"
        )
    return count


def _refuse_too_few(pairs: ParallelPairs, most_of_one: int) -> None:
    few = {code: count for code, count in pairs.counts.items() if count < most_of_one}
    if few:
        raise PairsError(
            f"too few pairs in {', '.join(f'{code} ({count})' for code, count in few.items())}: a batch "
            f"takes up to {most_of_one} of a language; lower batch_size, raise languages_per_batch, or "
            "leave the language out"
        )


def _numbers(pairs: ParallelPairs) -> dict[str, list[tuple[int, int]]]:
    """Return, per pair, a number of its sentence in its language and one of its pivot sentence."""
    seen: dict[tuple[str, str], int] = {}

    def number(language: str, text: str) -> int:
        return seen.setdefault((language, text), len(seen))

    return {
        language: [
            (number(language, text), number(pairs.pivot, pivot_text))
            for text, pivot_text in zip(bitext.sentences, bitext.pivot_sentences, strict=True)
        ]
        for language, bitext in pairs.items()
    }


def _warn_about_copies(pairs: ParallelPairs) -> None:
    copies = {
        language: sum(
            one == other for one, other in zip(bitext.sentences, bitext.pivot_sentences, strict=True)
        )
        for language, bitext in pairs.items()
    }
    if any(copies.values()):
        counts = ", ".join(f"{language} {count}" for language, count in copies.items() if count)
        warn(
            f"some sentences are the same on both sides ({counts}): they are aligned already and teach "
            "nothing; drop them"
        )
