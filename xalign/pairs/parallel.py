"""`ParallelPairs`: bitexts of several languages with one pivot."""

import hashlib
import json
import random
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from xalign.checks import whole_number
from xalign.errors import ArgumentError, ArgumentTypeError, PairsError
from xalign.pairs.bitext import Bitext, checked_sentences, first_occurrences, repeats
from xalign.pairs.languages import normalize_language, normalize_languages


class ParallelPairs(Mapping[str, Bitext]):
    """Parallel sentences of several languages with one pivot: a mapping from language code to `Bitext`.

    Built like this it is n-way parallel: row i of every language says the same. `from_bitexts` builds the
    general case, where each language has its own pivot sentences. Nothing is dropped or repaired: what cannot
    be used is refused, and duplicate lines are counted and warned about once.

    Args:
        texts: Language code -> sentences, the pivot's among them, all of one length of at least 2.
        pivot: Code of the language that all others are compared with.
        ids: An identifier per row; row numbers from 0 where absent.
        documents: The document each row comes from, so that `split` keeps documents apart.
        source: Where the text comes from, for provenance.

    Raises:
        PairsError: Sides of unequal length, an empty line, fewer than 2 pairs, no second language.
        ArgumentError: A language code that is unknown, ambiguous or given twice, or no pivot among them.
        ArgumentTypeError: Values that are no lists of strings.

    Example:
        >>> english, german = ["Good morning.", "It rains."], ["Guten Morgen.", "Es regnet."]
        >>> pairs = ParallelPairs({"en": english, "de": german})
        >>> pairs["deu_Latn"].sentences[1]
        'Es regnet.'
    """

    def __init__(
        self,
        texts: Mapping[str, Sequence[str]],
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
        sides = dict(zip(codes, (checked_sentences(code, side) for code, side in texts.items()), strict=True))
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
        bitexts: Mapping[str, tuple[Sequence[str], Sequence[str]]] | Iterable[Bitext],
        pivot: str = "eng_Latn",
        *,
        source: str | None = None,
    ) -> "ParallelPairs":
        """Builds pairs in which each language has its own pivot sentences, as in Tatoeba or OPUS.

        Args:
            bitexts: Language code -> (pivot sentences, sentences), or `Bitext` objects. Counts may differ
                between languages, never between the two sides of one.
            pivot: Code of the pivot language.
            source: Where the text comes from, for provenance.
        """
        pivot = normalize_language(pivot)
        if isinstance(bitexts, Mapping):
            made = []
            for code, sides in bitexts.items():
                if isinstance(sides, str) or not isinstance(sides, Sequence) or len(sides) != 2:
                    raise ArgumentTypeError(
                        f"bitexts[{code!r}] must be (pivot sentences, sentences), not {sides!r:.80}"
                    )
                pivot_side, side = (
                    checked_sentences(f"{code} (pivot side)", sides[0]),
                    checked_sentences(code, sides[1]),
                )
                ids = tuple(str(row) for row in range(len(side)))
                made.append(Bitext(normalize_language(code), pivot, side, pivot_side, ids))
        else:
            made = list(bitexts) if isinstance(bitexts, Iterable) else [bitexts]
            for bitext in made:
                if not isinstance(bitext, Bitext):
                    raise ArgumentTypeError(
                        "bitexts must map codes to (pivot sentences, sentences), or hold Bitext objects, not "
                        f"{bitext!r:.80}"
                    )
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
            raise PairsError(f"only the pivot {pivot} is given; add at least one language to compare with it")
        if pivot in others:
            raise ArgumentError(
                f"pivot={pivot!r} cannot be compared with itself; leave it out of the bitexts"
            )

    @classmethod
    def _of(cls, pivot: str, bitexts: dict[str, Bitext], source: str | None) -> "ParallelPairs":
        pairs = cls.__new__(cls)
        pairs._pivot, pairs._bitexts, pairs.source = pivot, bitexts, source
        return pairs

    # The mapping.

    def __getitem__(self, language: str) -> Bitext:
        """The bitext of a language; any spelling of its code is taken."""
        if language in self._bitexts:
            return self._bitexts[language]
        code = normalize_language(language)
        if code not in self._bitexts:
            raise KeyError(f"{code} is not among the languages of these pairs: {', '.join(self._bitexts)}")
        return self._bitexts[code]

    def __iter__(self) -> Iterator[str]:
        """The languages without the pivot, in the order given."""
        return iter(self._bitexts)

    def __len__(self) -> int:
        """The number of languages without the pivot."""
        return len(self._bitexts)

    def __contains__(self, language: object) -> bool:
        """Whether a language, in FLORES form, is among them."""
        return language in self._bitexts

    def __repr__(self) -> str:
        """The pivot, the languages, and how many pairs each has."""
        counts = set(self.counts.values())
        each = f"{counts.pop()} pairs each" if len(counts) == 1 else f"{count_range(counts)} pairs"
        return f"ParallelPairs({self.pivot} with {', '.join(self.languages)}; {each})"

    # What they are.

    @property
    def pivot(self) -> str:
        """Code of the pivot language."""
        return self._pivot

    @property
    def languages(self) -> list[str]:
        """Codes of the other languages."""
        return list(self._bitexts)

    @property
    def texts(self) -> dict[str, list[str]]:
        """Language -> its sentences, the pivot first; of pivot sentences that several bitexts share one."""
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
        """Whether all languages translate one and the same list of pivot sentences."""
        first, *others = self._bitexts.values()
        return all(bitext.pivot_sentences == first.pivot_sentences for bitext in others)

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of languages and text: equal exactly when every sentence is; their order is free."""
        bitexts = [self._bitexts[language] for language in sorted(self._bitexts)]
        text = [self.pivot, [[b.language, b.pivot_sentences, b.sentences] for b in bitexts]]
        return hashlib.sha256(json.dumps(text, ensure_ascii=False).encode()).hexdigest()

    @property
    def duplicates(self) -> dict[str, int]:
        """Language -> rows that repeat an earlier sentence; of the pivot, the most in any bitext."""
        counts = {self.pivot: max(repeats(b.pivot_sentences) for b in self._bitexts.values())}
        counts |= {language: repeats(b.sentences) for language, b in self._bitexts.items()}
        return {language: count for language, count in counts.items() if count}

    def overlap(self, other: "ParallelPairs") -> dict[str, list[str]]:
        """Language -> sentences that `other` has too in that language, compared after NFC normalisation.

        The pivot is included. Empty where the two share nothing: what a training set and a measuring set must
        give.
        """
        if not isinstance(other, ParallelPairs):
            raise ArgumentTypeError(f"other must be ParallelPairs, not {type(other).__name__}")
        ours, theirs = self._normalised_sentences(), other._normalised_sentences()
        shared = {
            language: [text for text in texts if text in theirs[language]]
            for language, texts in ours.items()
            if language in theirs
        }
        return {language: texts for language, texts in shared.items() if texts}

    def _normalised_sentences(self) -> dict[str, dict[str, None]]:
        sides: dict[str, dict[str, None]] = {self.pivot: {}}
        for bitext in self._bitexts.values():
            sides[self.pivot] |= {unicodedata.normalize("NFC", text): None for text in bitext.pivot_sentences}
            sides[bitext.language] = {unicodedata.normalize("NFC", text): None for text in bitext.sentences}
        return sides

    # Other pairs made from them.

    def only(self, languages: Sequence[str]) -> "ParallelPairs":
        """The pairs of some of the languages."""
        codes = [code for code in normalize_languages("languages", languages) if code != self.pivot]
        missing = [code for code in codes if code not in self]
        if missing:
            raise ArgumentError(
                f"languages={', '.join(missing)} not among those of these pairs: {', '.join(self.languages)}"
            )
        self._check_second_language(self.pivot, codes)
        return self._of(self.pivot, {code: self._bitexts[code] for code in codes}, self.source)

    def first(self, n: int) -> "ParallelPairs":
        """The first n pairs of each language."""
        return self._each(lambda bitext: bitext.first(n))

    def sample(self, n: int, seed: int) -> "ParallelPairs":
        """Some n pairs of each language, drawn without replacement; rows of n-way text stay together."""
        return self._each(lambda bitext: bitext.sample(n, seed))

    def shuffled(self, seed: int) -> "ParallelPairs":
        """A control: each sentence beside another row's pivot sentence; scores should fall to chance."""
        mispaired = self._each(lambda bitext: bitext.shuffled(seed))
        mispaired.source = f"{self.source or 'pairs'}, shuffled with seed {seed}"
        return mispaired

    def without_duplicates(self) -> "ParallelPairs":
        """The rows in which no side repeats an earlier one; n-way text loses a row in all languages."""
        if not self.is_multiway:
            return self._each(
                lambda bitext: bitext.rows(first_occurrences([bitext.pivot_sentences, bitext.sentences]))
            )
        bitexts = list(self._bitexts.values())
        kept = first_occurrences([bitexts[0].pivot_sentences, *(bitext.sentences for bitext in bitexts)])
        return self._each(lambda bitext: bitext.rows(kept))

    def split(self, share: float, seed: int) -> tuple["ParallelPairs", "ParallelPairs"]:
        """Two disjoint parts; the first holds about `share` of the rows.

        Rows of one document stay together, and so do rows of one pivot sentence where the source has no
        documents.
        """
        if isinstance(share, bool) or not isinstance(share, int | float):
            raise ArgumentTypeError(f"share={share!r} must be a number, not {type(share).__name__}")
        if not 0 < share < 1:
            raise ArgumentError(f"share={share!r} must lie strictly between 0 and 1")
        sizes = Counter(group for bitext in self._bitexts.values() for group in bitext.groups)
        order = sorted(sizes)
        random.Random(whole_number("seed", seed)).shuffle(order)
        chosen: set[str] = set()
        rows, wanted = 0, share * sizes.total()
        for group in order:
            if rows + sizes[group] / 2 > wanted:  # the nearest cut: half a group over or under
                break
            chosen.add(group)
            rows += sizes[group]

        def part(inside: bool) -> "ParallelPairs":
            return self._each(
                lambda bitext: bitext.rows(
                    [i for i, group in enumerate(bitext.groups) if (group in chosen) is inside]
                )
            )

        return part(True), part(False)

    def _each(self, change: Callable[[Bitext], Bitext]) -> "ParallelPairs":
        return self._of(
            self.pivot, {code: change(bitext) for code, bitext in self._bitexts.items()}, self.source
        )

    def _warn_about_duplicates(self) -> None:
        if self.duplicates:
            counts = ", ".join(f"{language} {count}" for language, count in self.duplicates.items())
            warnings.warn(
                f"the pairs hold repeated sentences ({counts}); ties lose, so these rows score 0. "
                "pairs.without_duplicates() removes them",
                UserWarning,
                stacklevel=3,
            )

    # Saved with a report, and read back.

    def to_dict(self) -> dict[str, Any]:
        """The pairs as plain lists and strings, for JSON."""
        bitexts = []
        shared = self.is_multiway
        for position, bitext in enumerate(self._bitexts.values()):
            row: dict[str, Any] = {"language": bitext.language, "sentences": list(bitext.sentences)}
            if position == 0 or not shared:
                row |= {"pivot_sentences": list(bitext.pivot_sentences), "ids": list(bitext.ids)}
                row["documents"] = None if bitext.documents is None else list(bitext.documents)
            bitexts.append(row)
        return {"pivot": self.pivot, "source": self.source, "bitexts": bitexts}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> "ParallelPairs":
        """The pairs that `to_dict` gave."""
        bitexts: dict[str, Bitext] = {}
        full: Mapping[str, Any] = {}
        for row in saved["bitexts"]:
            full = row if "pivot_sentences" in row else full
            documents = None if full["documents"] is None else tuple(full["documents"])
            bitexts[row["language"]] = Bitext(
                row["language"],
                saved["pivot"],
                tuple(row["sentences"]),
                tuple(full["pivot_sentences"]),
                tuple(full["ids"]),
                documents,
            )
        return cls._of(saved["pivot"], bitexts, saved["source"])


def count_range(counts: Iterable[int]) -> str:
    """Counts in words.

    Example:
        >>> count_range([8, 8]), count_range([8, 12, 10])
        ('8', '8 to 12')
    """
    found = sorted(counts)
    return f"{found[0]}" if found[0] == found[-1] else f"{found[0]} to {found[-1]}"
