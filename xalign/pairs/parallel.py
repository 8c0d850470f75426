"""`ParallelPairs`: bitexts of several languages with one pivot."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, cast

from xalign.errors import ArgumentError, ArgumentTypeError, PairsError
from xalign.pairs.audio import Audio, Item
from xalign.pairs.bitext import (
    Bitext,
    checked_bitexts,
    checked_items,
    checked_sentences,
    first_occurrences,
    repeats,
)
from xalign.pairs.languages import match_language, match_languages, normalize_language, normalize_languages
from xalign.pairs.overlap import shared_sentences
from xalign.pairs.saved import SavedPairs, load_bitexts, save_bitexts
from xalign.pairs.split import choose_groups
from xalign.warn import warn


class ParallelPairs(Mapping[str, Bitext[Item]], Generic[Item]):
    """Parallel sentences of several languages with one pivot: a mapping from language code to `Bitext`.

    The sentences are written, or spoken: then each is an `Audio`.

    The constructor takes n-way parallel text: row i of every language translates the same sentence.
    `from_bitexts` takes the general case, in which each language has its own pivot sentences. Nothing is
    dropped or repaired: text that cannot be used raises an error, and repeated lines give one warning with
    their counts.

    Args:
        texts: Language code -> sentences, including those of the pivot: strings, or `Audio` of all. All
            languages have the same number of sentences, at least 2.
        pivot: Code of the language that all others are compared with.
        ids: An identifier per row; None numbers the rows from 0.
        documents: The document that each row comes from, which `split` keeps in one part.
        source: Where the text comes from, for provenance.

    Raises:
        PairsError: The sides have unequal lengths, an empty line or fewer than 2 pairs, or there is no second
            language.
        ArgumentError: A language code is unknown, ambiguous or given twice, or the pivot has no sentences.
        ArgumentTypeError: A value is neither a list of strings nor one of `Audio`.

    Example:
        >>> english, german = ["Good morning.", "It rains."], ["Guten Morgen.", "Es regnet."]
        >>> pairs = ParallelPairs({"en": english, "de": german})
        >>> pairs["deu_Latn"].sentences[1]
        'Es regnet.'
    """

    def __init__(
        self,
        texts: Mapping[str, Sequence[Item]],
        pivot: str = "eng_Latn",
        *,
        ids: Sequence[str] | None = None,
        documents: Sequence[str] | None = None,
        source: str | None = None,
    ) -> None:
        if not isinstance(texts, Mapping):
            raise ArgumentTypeError(
                f"texts must map language codes to lists of sentences, not {type(texts).__name__}"
            )
        pivot = normalize_language(pivot)
        codes = normalize_languages("texts", texts)
        checked = (cast("tuple[Item, ...]", checked_items(code, side)) for code, side in texts.items())
        sides = dict(zip(codes, checked, strict=True))
        if pivot not in sides:
            raise ArgumentError(
                f"pivot={pivot!r} is not among the languages given: {', '.join(codes) or 'none'}; add its "
                "sentences or choose another pivot"
            )
        self._check_second_language(pivot, [code for code in codes if code != pivot])
        n = len(sides[pivot])
        row_ids = tuple(str(row) for row in range(n)) if ids is None else checked_sentences("ids", ids)
        row_documents = None if documents is None else checked_sentences("documents", documents)
        self._pivot = pivot
        self._bitexts = {
            code: Bitext(code, pivot, side, sides[pivot], row_ids, row_documents)
            for code, side in sides.items()
            if code != pivot
        }
        self.source = None if source is None else str(source)
        self._warn_about_duplicates()

    @classmethod
    def from_bitexts(
        cls,
        bitexts: Mapping[str, tuple[Sequence[Item], Sequence[Item]]] | Iterable[Bitext[Item]],
        pivot: str = "eng_Latn",
        *,
        source: str | None = None,
    ) -> "ParallelPairs[Item]":
        """Build pairs in which each language has its own pivot sentences, as in Tatoeba or OPUS.

        Args:
            bitexts: Language code -> (pivot sentences, sentences), or `Bitext` objects. Languages may have
                different numbers of pairs; the two sides of one language may not.
            pivot: Code of the pivot language.
            source: Where the text comes from, for provenance.

        Raises:
            PairsError: The sides of a language differ in length, a line is empty, or no language is given.
            ArgumentError: A language code is unknown, ambiguous or given twice, or a pivot differs.
            ArgumentTypeError: A value is not a pair of lists of strings, or of `Audio`.
        """
        pivot = normalize_language(pivot)
        made = checked_bitexts(bitexts, pivot)
        codes = normalize_languages("bitexts", [bitext.language for bitext in made])
        other = [bitext.language for bitext in made if bitext.pivot != pivot]
        if other:
            raise ArgumentError(f"bitexts of {', '.join(other)} have another pivot than {pivot}")
        cls._check_second_language(pivot, codes)
        pairs = cls._of(pivot, {bitext.language: bitext for bitext in made}, source)
        pairs._warn_about_duplicates()
        return pairs

    @staticmethod
    def _check_second_language(pivot: str, others: Sequence[str]) -> None:
        if not others:
            raise PairsError(f"only the pivot {pivot} is given; add at least one other language")
        if pivot in others:
            raise ArgumentError(
                f"pivot={pivot!r} cannot be compared with itself; leave it out of the bitexts"
            )

    @classmethod
    def _of(cls, pivot: str, bitexts: dict[str, Bitext[Item]], source: str | None) -> "ParallelPairs[Item]":
        pairs = cls.__new__(cls)
        if len({bitext.is_audio for bitext in bitexts.values()}) > 1:
            raise PairsError("some languages are spoken and others written; measure them on their own")
        pairs._pivot, pairs._bitexts, pairs.source = pivot, bitexts, source
        return pairs

    # The mapping interface.

    def __getitem__(self, language: str) -> Bitext[Item]:
        """Return the bitext of a language, given by any spelling of its code."""
        code = match_language(language, self._bitexts)
        if code is None:
            code = normalize_language(language)  # refuses what is no code
            raise KeyError(f"{code} is not among the languages of these pairs: {', '.join(self._bitexts)}")
        return self._bitexts[code]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the languages without the pivot, in the order given."""
        return iter(self._bitexts)

    def __len__(self) -> int:
        """Return the number of languages without the pivot."""
        return len(self._bitexts)

    def __contains__(self, language: object) -> bool:
        """Check whether a language, in FLORES form, is one of them."""
        return language in self._bitexts

    def __repr__(self) -> str:
        """Show the pivot, the languages and the number of pairs of each."""
        counts = set(self.counts.values())
        each = f"{counts.pop()} pairs each" if len(counts) == 1 else f"{count_range(counts)} pairs"
        return f"ParallelPairs({self.pivot} with {', '.join(self.languages)}; {each})"

    # Properties and comparison.

    @property
    def pivot(self) -> str:
        """Code of the pivot language."""
        return self._pivot

    @property
    def languages(self) -> list[str]:
        """Codes of the other languages."""
        return list(self._bitexts)

    @property
    def is_audio(self) -> bool:
        """Whether the sentences are spoken."""
        return next(iter(self._bitexts.values())).is_audio

    @property
    def floor_name(self) -> str:
        """The name of the floor of a score on these pairs: `lexical`, or `log-mel` for recordings."""
        return "log-mel" if self.is_audio else "lexical"

    @property
    def texts(self) -> dict[str, list[Item]]:
        """Language -> its sentences, the pivot first; pivot sentences shared by bitexts are listed once."""
        pivot = [sentence for bitext in self._bitexts.values() for sentence in bitext.pivot_sentences]
        alone = list(next(iter(self._bitexts.values())).pivot_sentences)
        return {
            self.pivot: alone if self.is_multiway else list(dict.fromkeys(pivot)),
            **{language: list(bitext.sentences) for language, bitext in self._bitexts.items()},
        }

    @property
    def counts(self) -> dict[str, int]:
        """Language -> number of pairs."""
        return {language: len(bitext) for language, bitext in self._bitexts.items()}

    @property
    def is_multiway(self) -> bool:
        """Whether all languages translate the same list of pivot sentences."""
        first, *others = self._bitexts.values()
        return all(bitext.pivot_sentences == first.pivot_sentences for bitext in others)

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of languages and sentences. The order of the languages does not change it."""
        bitexts = [self._bitexts[language] for language in sorted(self._bitexts)]
        text = [self.pivot, [[b.language, b.pivot_sentences, b.sentences] for b in bitexts]]

        def digest(audio: Audio) -> dict[str, str]:
            return {"audio": audio.digest}

        return hashlib.sha256(json.dumps(text, ensure_ascii=False, default=digest).encode()).hexdigest()

    @property
    def duplicates(self) -> dict[str, int]:
        """Language -> how many rows repeat an earlier sentence; for the pivot, the most of any bitext."""
        counts = {self.pivot: max(repeats(b.pivot_sentences) for b in self._bitexts.values())}
        counts |= {language: repeats(b.sentences) for language, b in self._bitexts.items()}
        return {language: count for language, count in counts.items() if count}

    def overlap(self, other: "ParallelPairs[Any]") -> dict[str, list[Item]]:
        """Find the sentences that two sets of pairs share, compared after NFC normalisation.

        Training data must share nothing with the sentences that measure the model.

        Args:
            other: The other pairs.

        Returns:
            Language -> shared sentences in that language, with the pivot. Languages without any are left out.

        Raises:
            ArgumentTypeError: `other` is not a `ParallelPairs`.
        """
        if not isinstance(other, ParallelPairs):
            raise ArgumentTypeError(f"other must be ParallelPairs, not {type(other).__name__}")
        return shared_sentences(self.values(), other.values())

    # New pairs made from these.

    def only(self, languages: Sequence[str]) -> "ParallelPairs[Item]":
        """Select some of the languages; the pivot need not be named."""
        there = f"among those of these pairs: {', '.join(self.languages)}"
        found = match_languages("languages", languages, [*self.languages, self.pivot], there)
        codes = [code for code in found if code != self.pivot]
        self._check_second_language(self.pivot, codes)
        return self._of(self.pivot, {code: self._bitexts[code] for code in codes}, self.source)

    def rows(self, rows: Sequence[int]) -> "ParallelPairs[Item]":
        """Return the given rows of each language, in the given order."""
        return self._each(lambda bitext: bitext.rows(rows))

    def first(self, n: int) -> "ParallelPairs[Item]":
        """Return the first n pairs of each language."""
        return self._each(lambda bitext: bitext.first(n))

    def sample(self, n: int, seed: int) -> "ParallelPairs[Item]":
        """Draw n pairs of each language without replacement; in n-way text, the same rows of each."""
        return self._each(lambda bitext: bitext.sample(n, seed))

    def shuffled(self, seed: int) -> "ParallelPairs[Item]":
        """Pair each sentence with the pivot of another row: a control whose scores should be at chance."""
        mispaired = self._each(lambda bitext: bitext.shuffled(seed))
        mispaired.source = f"{self.source or 'pairs'}, shuffled with seed {seed}"
        return mispaired

    def without_duplicates(self) -> "ParallelPairs[Item]":
        """Drop rows in which a side repeats an earlier one; n-way text drops such a row in all languages."""
        if not self.is_multiway:
            return self._each(
                lambda bitext: bitext.rows(first_occurrences([bitext.pivot_sentences, bitext.sentences]))
            )
        bitexts = list(self._bitexts.values())
        kept = first_occurrences([bitexts[0].pivot_sentences, *(bitext.sentences for bitext in bitexts)])
        return self.rows(kept)

    def split(self, share: float, seed: int) -> tuple["ParallelPairs[Item]", "ParallelPairs[Item]"]:
        """Split the rows into two disjoint parts.

        Rows of one document stay together. If the source has no documents, rows with the same pivot sentence
        do.

        Args:
            share: About how many of the rows go into the first part, strictly between 0 and 1.
            seed: The same seed gives the same parts.

        Raises:
            ArgumentError: `share` is out of range.
            ArgumentTypeError: `share` is not a number, or `seed` not a whole number.
            PairsError: A part would have fewer than 2 pairs of a language.
        """
        groups = (group for bitext in self._bitexts.values() for group in bitext.groups)
        chosen = choose_groups(groups, share, seed)

        def part(inside: bool) -> "ParallelPairs[Item]":
            return self._each(
                lambda one: one.rows([i for i, group in enumerate(one.groups) if (group in chosen) is inside])
            )

        return part(True), part(False)

    def _each(self, change: Callable[[Bitext[Item]], Bitext[Item]]) -> "ParallelPairs[Item]":
        return self._of(
            self.pivot, {code: change(bitext) for code, bitext in self._bitexts.items()}, self.source
        )

    def _warn_about_duplicates(self) -> None:
        if self.duplicates:
            counts = ", ".join(f"{language} {count}" for language, count in self.duplicates.items())
            warn(
                f"the pairs hold repeated sentences ({counts}); a tie counts as a miss, so these rows score "
                "0. pairs.without_duplicates() removes them"
            )

    # Saving with a report.

    def to_dict(self) -> SavedPairs:
        """Return the pairs as plain lists and strings, for JSON; for recordings, digest, rate and length."""
        bitexts = save_bitexts(list(self._bitexts.values()), self.is_multiway)
        return {"pivot": self.pivot, "source": self.source, "bitexts": bitexts}

    @classmethod
    def from_dict(cls, saved: SavedPairs) -> "ParallelPairs[Any]":
        """Rebuild pairs from what `to_dict` returned, which is checked like any file.

        Raises:
            ArgumentError: A field that is missing, unknown or of another type.
            PairsError: Sides that do not belong together, or a language that is there twice.
        """
        pivot, source, bitexts = load_bitexts(saved)
        return cls._of(pivot, bitexts, source)


def count_range(counts: Iterable[int]) -> str:
    """Write counts as one number or a range.

    Example:
        >>> count_range([8, 8]), count_range([8, 12, 10])
        ('8', '8 to 12')
    """
    found = sorted(counts)
    return f"{found[0]}" if found[0] == found[-1] else f"{found[0]} to {found[-1]}"
