"""A bitext: the sentences of one language and the pivot sentences they translate."""

import random
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from xalign.checks import whole_number
from xalign.errors import ArgumentTypeError, PairsError


@dataclass(frozen=True, slots=True)
class Bitext:
    """One language's n sentences and the n pivot sentences they translate, line-aligned.

    Attributes:
        language: Code of the language, like `deu_Latn`.
        pivot: Code of the pivot language.
        sentences: n sentences in `language`.
        pivot_sentences: n sentences in `pivot`; row i of both sides is pair i.
        ids: n identifiers, the source's own or the row numbers as text.
        documents: n document names, or None where the source has none.
    """

    language: str
    pivot: str
    sentences: tuple[str, ...]
    pivot_sentences: tuple[str, ...]
    ids: tuple[str, ...]
    documents: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Refuses what is no bitext."""
        for language, side in ((self.language, self.sentences), (self.pivot, self.pivot_sentences)):
            checked_sentences(language, side)
        for language, side in ((self.language, self.sentences), (self.pivot, self.pivot_sentences)):
            empty = [row + 1 for row, sentence in enumerate(side) if not _is_seen(sentence)]
            if empty:
                raise PairsError(
                    f"{language} has {len(empty)} empty line(s), the first at line {empty[0]}; fill or "
                    "remove that line in every language"
                )
        if len(self.sentences) != len(self.pivot_sentences):
            raise PairsError(
                f"{self.language} has {len(self.sentences)} sentences and its pivot {self.pivot} has "
                f"{len(self.pivot_sentences)}; line i of one must translate line i of the other"
            )
        if len(self) < 2:
            raise PairsError(
                f"{self.language} has {len(self)} pair(s); at least 2 are needed to compare anything"
            )
        for name, values in (("ids", self.ids), ("documents", self.documents)):
            if values is not None and len(values) != len(self):
                raise PairsError(f"{name} has {len(values)} entries for {len(self)} pairs of {self.language}")

    def __len__(self) -> int:
        """The number of pairs."""
        return len(self.sentences)

    @property
    def groups(self) -> tuple[str, ...]:
        """What a split keeps together: the document of each row or, without any, its pivot sentence."""
        return self.documents if self.documents is not None else self.pivot_sentences

    def rows(self, rows: Sequence[int]) -> "Bitext":
        """The bitext of the given rows, in the given order."""

        def take(side: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(side[row] for row in rows)

        return replace(
            self,
            sentences=take(self.sentences),
            pivot_sentences=take(self.pivot_sentences),
            ids=take(self.ids),
            documents=None if self.documents is None else take(self.documents),
        )

    def first(self, n: int) -> "Bitext":
        """The first n pairs."""
        self._check_n(n)
        return self.rows(range(n))

    def sample(self, n: int, seed: int) -> "Bitext":
        """Some n pairs drawn without replacement, in their old order."""
        self._check_n(n)
        return self.rows(sorted(random.Random(whole_number("seed", seed)).sample(range(len(self)), n)))

    def _check_n(self, n: int) -> None:
        if not isinstance(n, int) or isinstance(n, bool):
            raise ArgumentTypeError(f"n={n!r} must be a whole number of pairs")
        if not 2 <= n <= len(self):
            raise PairsError(
                f"n={n} must lie between 2 and the pairs there are: {self.language} has {len(self)}. Scores "
                "at different n cannot be compared, so fewer are never taken silently"
            )

    def shuffled(self, seed: int) -> "Bitext":
        """The same two sides, each sentence beside the pivot sentence of another row."""
        order = list(range(len(self)))
        random.Random(whole_number("seed", seed)).shuffle(order)
        partner = dict(zip(order, order[1:] + order[:1], strict=True))
        return replace(self, sentences=tuple(self.sentences[partner[row]] for row in range(len(self))))


def _is_seen(sentence: str) -> bool:
    """Whether anything is left without spaces and invisible characters such as a zero-width space."""
    return bool(sentence.strip()) and any(
        unicodedata.category(letter)[0] not in "CZ" for letter in sentence.strip()
    )


def checked_sentences(name: str, side: Any) -> tuple[str, ...]:
    """A tuple of strings, or an error that calls the side by `name`."""
    if isinstance(side, str) or not isinstance(side, Iterable):
        raise ArgumentTypeError(f"{name} must be a list of strings, not {side!r:.80}")
    sentences: tuple[str, ...] = tuple(side)
    for row, sentence in enumerate(sentences):
        if not isinstance(sentence, str):
            raise ArgumentTypeError(f"{name}: entry {row} must be a string, not {sentence!r:.80}")
        if any("\ud800" <= letter <= "\udfff" for letter in sentence):
            raise PairsError(
                f"{name}: entry {row} holds half a surrogate pair, which is no text: {sentence!r:.80}"
            )
    return sentences


def repeats(sentences: Sequence[str]) -> int:
    """How many rows repeat an earlier one."""
    return len(sentences) - len(set(sentences))


def first_occurrences(sides: Sequence[Sequence[str]]) -> list[int]:
    """The rows in which no side repeats a sentence of an earlier row that was kept."""
    seen: list[set[str]] = [set() for _ in sides]
    kept = []
    for row, sentences in enumerate(zip(*sides, strict=True)):
        if not any(sentence in known for sentence, known in zip(sentences, seen, strict=True)):
            kept.append(row)
            for sentence, known in zip(sentences, seen, strict=True):
                known.add(sentence)
    return kept
