"""`ParallelItems`: test items of several languages, line by line: choices, minimal pairs, words by sense."""

import hashlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple
from typing import Any, Generic, TypeVar

from xalign.checks import whole_number
from xalign.errors import ArgumentError, ArgumentTypeError, PairsError
from xalign.pairs.item import Choice, MinimalPair, WordSense
from xalign.pairs.languages import match_language, match_languages, normalize_language, normalize_languages
from xalign.pairs.parallel import ParallelPairs

KINDS = (Choice, MinimalPair, WordSense)
ItemT = TypeVar("ItemT", Choice, MinimalPair, WordSense)


class ParallelItems(Mapping[str, tuple[ItemT, ...]], Generic[ItemT]):
    """Test items of several languages: a mapping from language code to its items, the pivot first.

    Item i of every language is the same item, unless `is_aligned` is False. Nothing is dropped or repaired.

    Args:
        items: Language code -> its items, the pivot among them: all `Choice`, all `MinimalPair` or all
            `WordSense`. All languages have the same number, at least 2.
        pivot: Code of the language that all others are compared with.
        ids: An identifier per item; None numbers them from 0.
        source: Where they come from, for provenance.
        is_aligned: Whether line i is the same item in all languages. The pairs of CLAMS, for example, are
            not.

    Raises:
        PairsError: Languages with different numbers of items, of options or of gold answers, fewer than 2
            items, or items of two kinds.
        ArgumentError: A language code is unknown, ambiguous or given twice, or the pivot has no items.
        ArgumentTypeError: A value that is no list of items.

    Example:
        >>> english = [Choice("It rains.", ("I get wet.", "I fly.")), Choice("I eat.", ("So.", "No."))]
        >>> german = [Choice("Es regnet.", ("Ich werde nass.", "Ich fliege."))] + english[1:]
        >>> ParallelItems({"en": english, "de": german})
        ParallelItems(eng_Latn with deu_Latn; 2 choices each)
    """

    def __init__(
        self,
        items: Mapping[str, Sequence[ItemT]],
        pivot: str = "eng_Latn",
        *,
        ids: Sequence[str] | None = None,
        source: str | None = None,
        is_aligned: bool = True,
    ) -> None:
        if not isinstance(items, Mapping):
            raise ArgumentTypeError(f"items must map languages to lists of items, not {type(items).__name__}")
        pivot = normalize_language(pivot)
        sides = {
            code: _checked_side(code, side)
            for code, side in zip(normalize_languages("items", items), items.values(), strict=True)
        }
        if pivot not in sides:
            raise ArgumentError(
                f"pivot={pivot!r} is not among the languages given: {', '.join(sides) or 'none'}; add its "
                "items, or choose another pivot"
            )
        self._items: dict[str, tuple[ItemT, ...]] = {pivot: sides.pop(pivot), **sides}
        self.pivot, self.is_aligned = pivot, is_aligned
        self.source = None if source is None else str(source)
        n = _checked_count(self._items)
        self.ids = tuple(str(row) for row in range(n)) if ids is None else tuple(ids)
        if len(self.ids) != n or not all(isinstance(one, str) for one in self.ids):
            raise PairsError(f"ids must be a text for each of the {n} items, and has {len(self.ids)} entries")
        if is_aligned:
            self._check_rows()

    def _check_rows(self) -> None:
        """Refuse rows that cannot be the same item in all languages."""
        for code, side in self._items.items():
            for row, (item, pivot) in enumerate(zip(side, self._items[self.pivot], strict=True)):
                if not isinstance(item, Choice) or not isinstance(pivot, Choice):
                    continue
                if len(item.options) != len(pivot.options):
                    raise PairsError(
                        f"item {self.ids[row]} has {len(item.options)} options in {code} and "
                        f"{len(pivot.options)} in {self.pivot}; option k of both must be the same answer"
                    )
                if None not in (item.gold, pivot.gold) and item.gold != pivot.gold:
                    raise PairsError(
                        f"the gold answer of item {self.ids[row]} is {item.gold} in {code} and {pivot.gold} "
                        f"in {self.pivot}; put the options of both into one order"
                    )

    # The mapping interface.

    def __getitem__(self, language: str) -> tuple[ItemT, ...]:
        """Return the items of a language, given by any spelling of its code."""
        code = match_language(language, self._items)
        if code is None:
            code = normalize_language(language)
            raise KeyError(f"{code} is not among the languages of these items: {', '.join(self._items)}")
        return self._items[code]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the languages, the pivot first."""
        return iter(self._items)

    def __len__(self) -> int:
        """Return the number of languages, the pivot counted."""
        return len(self._items)

    def __repr__(self) -> str:
        """Show the pivot, the languages and the number of items."""
        others = f" with {', '.join(self.languages)}" if self.languages else ""
        return f"ParallelItems({self.pivot}{others}; {self.n} {self.kind.plural} each)"

    @property
    def languages(self) -> list[str]:
        """Codes of the languages without the pivot."""
        return [code for code in self._items if code != self.pivot]

    @property
    def n(self) -> int:
        """The number of items of each language."""
        return len(self._items[self.pivot])

    @property
    def kind(self) -> type[ItemT]:
        """What the items are: `Choice`, `MinimalPair` or `WordSense`."""
        return type(self._items[self.pivot][0])

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of languages and items. The order of the languages does not change it."""
        sides = [[code, [astuple(item) for item in self._items[code]]] for code in sorted(self._items)]
        text = json.dumps([self.pivot, self.kind.__name__, sides], ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    # Items made from these.

    def only(self, languages: Sequence[str]) -> "ParallelItems[ItemT]":
        """Select some of the languages; the pivot need not be named."""
        there = f"among those of these items: {', '.join(self._items)}"
        wanted: list[str] = match_languages("languages", languages, list(self._items), there)
        return self._with({code: self._items[code] for code in (self.pivot, *wanted)}, self.ids)

    def rows(self, rows: Sequence[int]) -> "ParallelItems[ItemT]":
        """Return the given items of each language, in the given order."""
        sides = {code: tuple(side[row] for row in rows) for code, side in self._items.items()}
        return self._with(sides, tuple(self.ids[row] for row in rows))

    def first(self, n: int) -> "ParallelItems[ItemT]":
        """Return the first n items of each language."""
        return self.rows(range(self._checked_n(n)))

    def sample(self, n: int, seed: int) -> "ParallelItems[ItemT]":
        """Draw n items without replacement, the same for all languages, and keep their order."""
        drawn = random.Random(whole_number("seed", seed)).sample(range(self.n), self._checked_n(n))
        return self.rows(sorted(drawn))

    def _checked_n(self, n: int) -> int:
        if whole_number("n", n, least=2) > self.n:
            raise PairsError(f"n={n} is more than the {self.n} items of each language")
        return n

    def _with(self, sides: Mapping[str, Sequence[ItemT]], ids: tuple[str, ...]) -> "ParallelItems[ItemT]":
        return ParallelItems(sides, self.pivot, ids=ids, source=self.source, is_aligned=self.is_aligned)

    def as_pairs(self) -> ParallelPairs[str]:
        """Return the items as parallel sentences: all the text of an item is one sentence.

        The report of a measurement of items is about these.

        Raises:
            PairsError: Items that are not aligned, or of one language.
        """
        if not self.is_aligned:
            raise PairsError("line i of these items is not the same item in all languages: no pairs")
        if not self.languages:
            raise PairsError(f"only the pivot {self.pivot} is given; add at least one other language")
        texts = {code: [item.text for item in side] for code, side in self._items.items()}
        return ParallelPairs(texts, self.pivot, ids=self.ids, source=self.source)


def _checked_side(code: str, side: Any) -> tuple[Any, ...]:
    if isinstance(side, str) or not isinstance(side, Sequence):
        raise ArgumentTypeError(f"{code} must be a list of items, not {type(side).__name__}")
    for row, item in enumerate(side):
        if not isinstance(item, KINDS):
            raise ArgumentTypeError(
                f"{code}: entry {row} must be a Choice, MinimalPair or WordSense, not {type(item).__name__}"
            )
    return tuple(side)


def _checked_count(sides: Mapping[str, Sequence[Any]]) -> int:
    counts = {code: len(side) for code, side in sides.items()}
    n = next(iter(counts.values()))
    if set(counts.values()) != {n}:
        raise PairsError(
            f"languages have different numbers of items: {', '.join(f'{c} {k}' for c, k in counts.items())}; "
            "line i of all must be the same item"
        )
    if n < 2:  # noqa: PLR2004
        raise PairsError(f"there are {n} item(s); at least 2 are needed")
    kinds = {type(item).__name__ for side in sides.values() for item in side}
    if len(kinds) > 1:
        raise PairsError(f"items are of different kinds: {', '.join(sorted(kinds))}; measure each on its own")
    return n
