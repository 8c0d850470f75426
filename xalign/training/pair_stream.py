"""Which pairs a micro-batch trains on: drawn from the step and the rank, with nothing to save or restore."""

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist

from xalign.checks import whole_number
from xalign.errors import ArgumentError, PairsError
from xalign.model.batches import Line
from xalign.model.inputs import Inputs, TextOptions
from xalign.pairs.bitext import Bitext
from xalign.pairs.parallel import ParallelPairs
from xalign.training.calls import Calls
from xalign.training.draw import Rows, draw_rows, shares_of
from xalign.training.epochs import Epochs
from xalign.training.pair_batch import BatchWords, PairBatch
from xalign.training.word_links import LinksOfPairs, pair_words
from xalign.warn import warn

FEWEST_PER_LANGUAGE = 8


class PairStream:
    """Draws the pairs of a micro-batch from (seed, step, micro-step, rank) alone.

    A resumed run therefore draws the same pairs as an unbroken one, and each process draws its own. The pairs
    of a micro-batch are drawn without replacement, evenly from its languages.

    Args:
        pairs: The sentences.
        inputs: What the model takes.
        text: How sentences become tokens; the defaults of `TextOptions` if None.
        batch_size: Pairs of a micro-batch.
        languages_per_batch: How many languages a micro-batch holds, drawn anew for each; if None, as many as
            can have 8 pairs each.
        language_temperature: T, to make a language's share of the draws proportional to n^(1/T), with n its
            number of pairs; even shares if None.
        epochs: Draw each pair once per epoch, for this many epochs; 0 for epochs without end. If None, each
            micro-batch is drawn anew.
        any_partner: Draw for each micro-batch which language takes the pivot's place.
        links: Language -> links between the words of each pair, as `links_of` gives them.
        seed: Decides which pairs are drawn.

    Attributes:
        calls: When a loop asks for pairs, which epochs must know.
        processes: Number of processes that draw; if None, as many as there are.

    Raises:
        ArgumentError: More languages per batch than there are languages, or than pairs in a batch.
        PairsError: A language with fewer pairs than a micro-batch may take of it, or `any_partner` with
            languages that do not all translate the same sentences.
    """

    def __init__(
        self,
        pairs: ParallelPairs,
        inputs: Inputs,
        text: TextOptions | None = None,
        *,
        batch_size: int,
        languages_per_batch: int | None = None,
        language_temperature: float | None = None,
        epochs: int | None = None,
        any_partner: bool = False,
        links: Mapping[str, LinksOfPairs] | None = None,
        seed: int = 0,
    ) -> None:
        self.pairs, self.batch_size, self.seed = pairs, batch_size, whole_number("seed", seed)
        self.languages_per_batch = count = _languages_per_batch(pairs, batch_size, languages_per_batch)
        self.calls = Calls()
        self.processes: int | None = None
        self._shares = None if language_temperature is None else shares_of(pairs.counts, language_temperature)
        self._n_epochs, self._epochs = epochs, None
        if epochs is None:
            _refuse_too_few(pairs, batch_size, count, self._shares or {})
        else:
            self._epochs = Epochs(pairs.counts, batch_size // count, seed)
        if any_partner:
            _refuse_own_pivots(pairs)
        self._partners = [pairs.pivot, *pairs] if any_partner else [pairs.pivot]
        _warn_about_copies(pairs)
        self._lines = _lines(pairs, inputs, text)
        self._numbers = _numbers(pairs)
        self._words = None
        if links is not None:
            lengths = {code: _lengths(*sides) for code, sides in self._lines.items()}
            self._words = {
                code: pair_words(bitext, links[code], inputs, text, lengths[code])
                for code, bitext in pairs.items()
            }

    # What is drawn.

    def partner(self, step: int, micro_step: int = 0) -> str:
        """Return the language that stands in the pivot's place, the same in all processes."""
        if len(self._partners) == 1:
            return self.pairs.pivot
        return random.Random(f"partner {self.seed} {step} {micro_step}").choice(self._partners)

    def rows(
        self,
        step: int,
        micro_step: int = 0,
        rank: int = 0,
        shares: Mapping[str, float] | None = None,
    ) -> Rows:
        """Return the language and the row of each pair of a micro-batch.

        Args:
            step: The number of optimizer steps done.
            micro_step: The index of the micro-batch within its step.
            rank: The rank of the process.
            shares: Language -> its share of the pairs, summing to 1; if there are none, those of the stream.
                A micro-batch takes no more pairs of a language than it has.
        """
        if self._epochs is not None:
            return self._rows_of_epochs(self._epochs, self.calls.before(step, micro_step), rank)
        order = random.Random(f"{self.seed} {step} {micro_step} {rank}")
        partner, counts = self.partner(step, micro_step), self.pairs.counts
        if partner != self.pairs.pivot:
            counts = {self.pairs.pivot: counts.pop(partner), **counts}
        return draw_rows(order, counts, self.batch_size, self.languages_per_batch, shares or self._shares)

    def _rows_of_epochs(self, epochs: Epochs, calls: int, rank: int) -> Rows:
        count = self.languages_per_batch
        by_code: dict[str, list[int]] = {}
        for code, rows in epochs.parts((calls * self._n_processes() + rank) * count, count):
            by_code.setdefault(code, []).extend(rows)
        return [(code, row) for code, rows in by_code.items() for row in rows]

    @property
    def n_calls(self) -> int | None:
        """How often each process asks for pairs until the last epoch is over; None if there is no last one.

        The last micro-batches are filled up with pairs of one more epoch.
        """
        if self._epochs is None or not self._n_epochs:
            return None
        return -(-self._n_epochs * self._epochs.n_parts // (self.languages_per_batch * self._n_processes()))

    def has_ended(self, step: int, micro_step: int = 0) -> bool:
        """Return whether all epochs are over before a micro-batch."""
        return self.n_calls is not None and self.calls.before(step, micro_step) >= self.n_calls

    def _n_processes(self) -> int:
        if self.processes is not None:
            return self.processes
        return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1

    def draw(
        self,
        step: int,
        micro_step: int = 0,
        rank: int = 0,
        shares: Mapping[str, float] | None = None,
    ) -> PairBatch:
        """Return the pairs of a micro-batch, ready to run; the arguments are those of `rows`."""
        return self.batch(self.rows(step, micro_step, rank, shares), self.partner(step, micro_step))

    def batch(self, rows: Rows, partner: str | None = None) -> PairBatch:
        """Return some pairs, ready to run.

        Args:
            rows: Per pair, its language and its row.
            partner: The language in the pivot's place; the pivot if None.
        """
        codes = [*self.pairs, self.pairs.pivot]
        own = [self._side(code, row) for code, row in rows]
        others = [self._other_side(code, row, partner or self.pairs.pivot) for code, row in rows]
        words = None if self._words is None else [self._words[code][row] for code, row in rows]
        return PairBatch(
            names=[(code, self._bitext(code).ids[row]) for code, row in rows],
            language_lines=[line for line, _ in own],
            pivot_lines=[line for line, _ in others],
            languages=torch.tensor([codes.index(code) for code, _ in rows]),
            same=torch.tensor([(one[1], other[1]) for one, other in zip(own, others, strict=True)]),
            words=None if words is None else BatchWords.of(words),
        )

    def _side(self, code: str, row: int) -> tuple[Line, int]:
        """Return a sentence as token ids, and its number."""
        if code == self.pairs.pivot:
            return self._other_side(next(iter(self.pairs)), row, code)
        return self._lines[code][0][row], self._numbers[code][row][0]

    def _other_side(self, code: str, row: int, partner: str) -> tuple[Line, int]:
        """Return what stands beside a sentence."""
        if partner != self.pairs.pivot:
            return self._side(partner, row)
        return self._lines[code][1][row], self._numbers[code][row][1]

    def _bitext(self, code: str) -> Bitext[Any]:
        return next(iter(self.pairs.values())) if code == self.pairs.pivot else self.pairs[code]


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


def _lines(
    pairs: ParallelPairs, inputs: Inputs, text: TextOptions | None
) -> dict[str, tuple[list[Line], list[Line]]]:
    """Return, per language, its sentences and their pivot sentences as token ids."""

    def lines(language: str, side: Sequence[Any], ids: Sequence[str]) -> list[Line]:
        return inputs.encode(side, language, text, ids).lines

    found: dict[str, tuple[list[Line], list[Line]]] = {}
    pivot: list[Line] = []
    is_multiway = pairs.is_multiway
    for language, bitext in pairs.items():
        if not (pivot and is_multiway):
            pivot = lines(pairs.pivot, bitext.pivot_sentences, bitext.ids)
        found[language] = lines(language, bitext.sentences, bitext.ids), pivot
    return found


def _lengths(language: Sequence[Line], pivot: Sequence[Line]) -> list[tuple[int, int]]:
    return [(len(one), len(other)) for (one, _), (other, _) in zip(language, pivot, strict=True)]


def _refuse_too_few(pairs: ParallelPairs, batch_size: int, count: int, shares: Mapping[str, float]) -> None:
    """Raise an error where a micro-batch may take more pairs of a language than there are."""
    part = -(-batch_size // count)
    most = {code: part * max(1, math.ceil(count * shares.get(code, 0))) for code in pairs}
    few = {code: n for code, n in pairs.counts.items() if n < most[code]}
    if few:
        raise PairsError(
            f"too few pairs in {', '.join(f'{code} ({n})' for code, n in few.items())}: a batch "
            f"takes up to {max(most[code] for code in few)} of a language; lower batch_size, raise "
            "languages_per_batch, or leave the language out"
        )


def _refuse_own_pivots(pairs: ParallelPairs) -> None:
    """Raise an error where any two languages cannot be paired, because each has its own pivot sentences."""
    if not pairs.is_multiway:
        raise PairsError(
            "partners='any' pairs all languages with one another, and these do not all translate the same "
            f"{pairs.pivot} sentences; give n-way text, or partners='pivot'"
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
