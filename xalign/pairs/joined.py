"""Join sentences of several languages over a key: an identifier, or the number of the row they share."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from xalign.errors import ArgumentTypeError, PairsError
from xalign.pairs.audio import Audio, Item
from xalign.pairs.bitext import Bitext, without_text
from xalign.pairs.blank import is_blank
from xalign.pairs.spellings import chosen_spellings
from xalign.warn import warn


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
    sides: dict[str, list[tuple[str | int, Any, int]]] = field(default_factory=dict)
    ids: dict[str | int, str] = field(default_factory=dict)
    documents: dict[str | int, str] = field(default_factory=dict)

    def add(self, spelling: str, key: str | int, sentence: Any, number: int) -> None:
        """Add one sentence."""
        self.sides.setdefault(spelling, []).append((key, sentence, number))

    def join(self, languages: Sequence[str] | None, pivot: str) -> dict[str, Bitext[Any]]:
        """Return language -> bitext, without the pivot, in the order of the pivot's sentences.

        A language has the pairs whose key it shares with the pivot. What is left out for that is told in one
        warning.

        Raises:
            PairsError: The pivot is not there; a sentence is empty or no text; two sentences of a language
                have the same key; or a language shares no key with the pivot.
            ArgumentError: A language is unknown, ambiguous or not there.
        """
        chosen = chosen_spellings(self.sides, languages, pivot, self.place)
        sides = {code: self._checked(code, spelling) for code, spelling in chosen.items()}
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

    def _checked(self, code: str, spelling: str) -> dict[str | int, Any]:
        """Return key -> sentence of one language."""
        side: dict[str | int, Any] = {}
        for key, sentence, number in self.sides[spelling]:
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
