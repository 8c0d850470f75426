"""`Bitext`: the sentences of one language, written or spoken, and the pivot sentences they translate."""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Generic, TypeVar, cast

from xalign.checks import whole_number
from xalign.errors import ArgumentTypeError, PairsError
from xalign.pairs.audio import Audio, Item
from xalign.pairs.blank import is_blank
from xalign.pairs.languages import normalize_language

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bitext(Generic[Item]):
    """The n sentences of one language and the n pivot sentences they translate, line by line.

    Attributes:
        language: Code of the language, like `deu_Latn`.
        pivot: Code of the pivot language.
        sentences: n sentences in `language`: strings, or an `Audio` of each that is spoken.
        pivot_sentences: n sentences in `pivot`; row i of both sides is pair i.
        ids: n identifiers: those of the source, or the row numbers as text.
        documents: n document names, or None if the source has no documents.
    """

    language: str
    pivot: str
    sentences: tuple[Item, ...]
    pivot_sentences: tuple[Item, ...]
    ids: tuple[str, ...]
    documents: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse sides that are empty, unequal, too short, or one of text and one of sound."""
        sides = ((self.language, self.sentences), (self.pivot, self.pivot_sentences))
        kinds = {language: is_sound(checked_items(language, side)) for language, side in sides}
        if len(set(kinds.values())) > 1:
            spoken, written = sorted(kinds, key=lambda language: not kinds[language])
            raise PairsError(
                f"{spoken} is spoken and {written} is written: speech is compared with speech, and text with "
                "text, because two encoders share no layers; record or transcribe one of them"
            )
        for language, side in sides:
            empty = [row + 1 for row, one in enumerate(side) if isinstance(one, str) and is_blank(one)]
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
        """Return the number of pairs."""
        return len(self.sentences)

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that `split` keeps together: the document of each row, or else its pivot sentence."""
        if self.documents is not None:
            return self.documents
        return tuple(one.digest if isinstance(one, Audio) else one for one in self.pivot_sentences)

    @property
    def is_audio(self) -> bool:
        """Whether the sentences are spoken."""
        return is_sound(self.sentences)

    def rows(self, rows: Sequence[int]) -> "Bitext[Item]":
        """Return the bitext of the given rows, in the given order."""

        def take(side: tuple[T, ...]) -> tuple[T, ...]:
            return tuple(side[row] for row in rows)

        return replace(
            self,
            sentences=take(self.sentences),
            pivot_sentences=take(self.pivot_sentences),
            ids=take(self.ids),
            documents=None if self.documents is None else take(self.documents),
        )

    def first(self, n: int) -> "Bitext[Item]":
        """Return the first n pairs."""
        self._check_n(n)
        return self.rows(range(n))

    def sample(self, n: int, seed: int) -> "Bitext[Item]":
        """Draw n pairs without replacement, and keep their order."""
        self._check_n(n)
        return self.rows(sorted(random.Random(whole_number("seed", seed)).sample(range(len(self)), n)))

    def _check_n(self, n: int) -> None:
        if not isinstance(n, int) or isinstance(n, bool):
            raise ArgumentTypeError(f"n={n!r} must be a whole number of pairs")
        if not 2 <= n <= len(self):
            raise PairsError(
                f"n={n} must lie between 2 and the pairs there are: {self.language} has {len(self)}. Scores "
                "at different n cannot be compared, so xalign never takes fewer pairs without asking"
            )

    def shuffled(self, seed: int) -> "Bitext[Item]":
        """Pair each sentence with the pivot sentence of another row."""
        order = list(range(len(self)))
        random.Random(whole_number("seed", seed)).shuffle(order)
        partner = dict(zip(order, order[1:] + order[:1], strict=True))
        return replace(self, sentences=tuple(self.sentences[partner[row]] for row in range(len(self))))


def checked_sentences(name: str, side: object) -> tuple[str, ...]:
    """Return the sentences of one side as a tuple of strings.

    Args:
        name: What error messages call the side.
        side: The sentences.

    Raises:
        ArgumentTypeError: It is not a list of strings. Sets, mappings, iterators and files are refused,
            because they have no order of their own or can be read only once.
        PairsError: A sentence is not valid Unicode text.
    """
    if isinstance(side, str) or not isinstance(side, Iterable):
        raise ArgumentTypeError(f"{name} must be a list of strings, not {type(side).__name__}")
    if isinstance(side, Set | Mapping | Iterator):
        raise ArgumentTypeError(
            f"{name} must be a list of strings in the order of its translations, not a "
            f"{type(side).__name__}, whose order or content may change; make a list of it first"
        )
    sentences = tuple(side)
    for row, sentence in enumerate(sentences):
        if not isinstance(sentence, str):
            hint = "; of samples make an Audio(samples, rate)" if hasattr(sentence, "__array__") else ""
            raise ArgumentTypeError(
                f"{name}: entry {row} must be a string, not {without_text(sentence)}{hint}"
            )
        if any("\ud800" <= letter <= "\udfff" for letter in sentence):
            raise PairsError(
                f"{name}: entry {row} holds half a surrogate pair, which is not valid text; write it anew"
            )
    return sentences


def checked_items(name: str, side: object) -> tuple[str, ...] | tuple[Audio, ...]:
    """Return one side as a tuple: of strings, or of `Audio` where its first entry is one.

    Args:
        name: What error messages call the side.
        side: The sentences, written or spoken.

    Raises:
        ArgumentTypeError: It is neither a list of strings nor one of `Audio`, or it holds both.
        PairsError: A sentence is not valid Unicode text.
    """
    if (
        not isinstance(side, Sequence)
        or isinstance(side, str)
        or not any(isinstance(one, Audio) for one in side)
    ):
        return checked_sentences(name, side)
    for row, one in enumerate(side):
        if not isinstance(one, Audio):
            raise ArgumentTypeError(
                f"{name}: entry {row} must be an Audio as others of its side are, not {without_text(one)}; "
                "make one with Audio(samples, rate)"
            )
    return tuple(side)


def is_sound(side: Sequence[object]) -> bool:
    """Return whether a side that was checked is spoken."""
    return bool(side) and isinstance(side[0], Audio)


def without_text(value: object) -> str:
    """Describe, without its text, a value that may hold sentences: trackers may upload what is printed."""
    return repr(value) if isinstance(value, int | float | None) else type(value).__name__


def checked_bitexts(
    bitexts: Mapping[str, tuple[Sequence[Item], Sequence[Item]]] | Iterable[Bitext[Item]], pivot: str
) -> list[Bitext[Item]]:
    """Make `Bitext` objects from a mapping; a list of them is only checked.

    Args:
        bitexts: Language code -> (pivot sentences, sentences), or `Bitext` objects.
        pivot: Code of the pivot language, for a mapping.

    Raises:
        PairsError: The two sides of a language do not fit together.
        ArgumentError: A language code is unknown or ambiguous.
        ArgumentTypeError: A value is neither of the two.
    """
    if not isinstance(bitexts, Mapping):
        made = list(bitexts) if isinstance(bitexts, Iterable) else [bitexts]
        for bitext in made:
            if not isinstance(bitext, Bitext):
                raise ArgumentTypeError(
                    "bitexts must map codes to (pivot sentences, sentences), or hold Bitext objects, not "
                    f"{bitext!r:.80}"
                )
        return made
    made = []
    for code, sides in bitexts.items():
        if isinstance(sides, str) or not isinstance(sides, Sequence) or len(sides) != 2:
            raise ArgumentTypeError(
                f"bitexts[{code!r}] must be (pivot sentences, sentences), not {sides!r:.80}"
            )
        pivot_side = cast("tuple[Item, ...]", checked_items(f"{code} (pivot side)", sides[0]))
        side = cast("tuple[Item, ...]", checked_items(code, sides[1]))
        ids = tuple(str(row) for row in range(len(side)))
        made.append(Bitext(normalize_language(code), pivot, side, pivot_side, ids))
    return made


def repeats(sentences: Sequence[object]) -> int:
    """Count the rows that repeat an earlier row."""
    return len(sentences) - len(set(sentences))


def first_occurrences(sides: Sequence[Sequence[object]]) -> list[int]:
    """Return the rows to keep so that no sentence occurs twice on any side."""
    seen: list[set[object]] = [set() for _ in sides]
    kept = []
    for row, sentences in enumerate(zip(*sides, strict=True)):
        if not any(sentence in known for sentence, known in zip(sentences, seen, strict=True)):
            kept.append(row)
            for sentence, known in zip(sentences, seen, strict=True):
                known.add(sentence)
    return kept
