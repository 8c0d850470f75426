"""Join sentences of several languages over a key: an identifier, or the number of the row they share."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from xalign.errors import ArgumentTypeError, PairsError
from xalign.languages import meanings_of
from xalign.pairs.audio import Audio, Item
from xalign.pairs.bitext import Bitext, without_text
from xalign.pairs.blank import is_blank
from xalign.pairs.spellings import chosen_spellings, variants_of
from xalign.warn import warn

# Key, sentence, and number of its row or line in the source.
Entry = tuple[str | int, Any, int]


@dataclass
class Unjoined:
    """The sentences of a source before they are joined, by the source's own spelling of each language.

    Attributes:
        place: What error messages call the source.
        unit: What error messages call an entry of the source, such as `row` or `line`.
        sides: Spelling -> (key, sentence, number of its row or line in the source).
        ids: Key -> identifier, where the source has them.
        documents: Key -> name of the document, where the source has them.
    """

    place: str
    unit: str = "row"
    sides: dict[str, list[Entry]] = field(default_factory=dict)
    ids: dict[str | int, str] = field(default_factory=dict)
    documents: dict[str | int, str] = field(default_factory=dict)

    def add(self, spelling: str, key: str | int, sentence: Any, number: int) -> None:
        """Add one sentence."""
        self.sides.setdefault(spelling, []).append((key, sentence, number))

    def join(self, languages: Sequence[str] | None, pivot: str) -> dict[str, Bitext[Any]]:
        """Return language -> bitext, without the pivot, in the order of the pivot's sentences.

        A language has the pairs whose key it shares with the pivot. One warning says what is left out for
        lack of a key.

        Raises:
            PairsError: The pivot is not there; a sentence is empty or no text; two sentences of a language
                have the same key; or a language shares no key with the pivot.
            ArgumentError: A language is unknown, ambiguous or not there.
        """
        merged = self._merged(() if languages is None else languages)
        chosen = chosen_spellings(merged, languages, pivot, self.place)
        sides = {code: self._checked(code, merged[spelling]) for code, spelling in chosen.items()}
        pivot_side = sides.pop(pivot)
        bitexts, alone = {}, dict[str, int]()
        for code, side in sides.items():
            keys = [key for key in pivot_side if key in side]
            if not keys:
                raise PairsError(
                    f"{self.place}: no {self.unit} of {code} belongs to one of the pivot {pivot}; is the "
                    "column of identifiers the right one?"
                )
            alone |= {code: count} if (count := len(side) + len(pivot_side) - 2 * len(keys)) else {}
            bitexts[code] = self._bitext(code, pivot, keys, side, pivot_side)
        if alone:
            counts = ", ".join(f"{code} {count}" for code, count in alone.items())
            warn(f"{self.place}: sentences without a partner in the other language are not read ({counts})")
        return bitexts

    def _merged(self, languages: Sequence[str]) -> dict[str, list[Entry]]:
        """Return the sides, with spellings of one language as one side where no key has two of them.

        So `en-US` and `en-GB` of different rows are English. A spelling with a variant that is asked for
        stays by itself.
        """
        groups: dict[tuple[str, ...], list[str]] = {}
        for spelling in self.sides:
            groups.setdefault(tuple(meanings_of(spelling)) or (spelling,), []).append(spelling)
        merged = dict[str, list[Entry]]()
        for group in groups.values():
            keys = [{key for key, _, _ in self.sides[spelling]} for spelling in group]
            is_asked = any(spelling in languages and variants_of(spelling) for spelling in group)
            if len(group) == 1 or is_asked or len(set().union(*keys)) < sum(map(len, keys)):
                merged |= {spelling: self.sides[spelling] for spelling in group}
            else:
                entries = [entry for spelling in group for entry in self.sides[spelling]]
                merged[group[0]] = sorted(entries, key=lambda entry: entry[2])
        return merged

    def _bitext(
        self,
        code: str,
        pivot: str,
        keys: Sequence[str | int],
        side: dict[str | int, Item],
        pivot_side: dict[str | int, Item],
    ) -> Bitext[Item]:
        documents = [self.documents.get(key) for key in keys]
        named = tuple(one for one in documents if one is not None)
        return Bitext(
            code,
            pivot,
            tuple(side[key] for key in keys),
            tuple(pivot_side[key] for key in keys),
            tuple(self.ids.get(key, str(key)) for key in keys),
            named if len(named) == len(keys) else None,
        )

    def _checked(self, code: str, entries: Sequence[Entry]) -> dict[str | int, Any]:
        """Return key -> sentence of one language."""
        side: dict[str | int, Any] = {}
        for key, sentence, number in entries:
            place = f"{self.place}, {self.unit} {number}"
            if sentence is None or (isinstance(sentence, str) and is_blank(sentence)):
                raise PairsError(
                    f"{place}: the sentence of {code} is empty; fill it, or leave the {self.unit} out"
                )
            if not isinstance(sentence, str | Audio):
                raise ArgumentTypeError(
                    f"{place}: the sentence of {code} must be a string, not {without_text(sentence)}"
                )
            if side.setdefault(key, sentence) != sentence:
                raise PairsError(
                    f"{place}: {code} has another sentence with the same identifier {str(key)!r:.60}; name "
                    "the column that tells sentences apart with pairs_from_dataset(dataset, id_column=...)"
                )
        return side
