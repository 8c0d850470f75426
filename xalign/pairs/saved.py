"""Bitexts as plain lists and strings, in the form in which a report saves them."""

from collections.abc import Sequence
from typing import TypedDict

from xalign.pairs.bitext import Bitext


class SavedBitext(TypedDict, total=False):
    """One bitext. In n-way text only the first has the fields that are the same for all.

    Attributes:
        language: Code of the language.
        sentences: Its sentences.
        pivot_sentences: The pivot sentences that they translate.
        ids: An identifier per row.
        documents: A document name per row, or None.
    """

    language: str
    sentences: list[str]
    pivot_sentences: list[str]
    ids: list[str]
    documents: list[str] | None


class SavedPairs(TypedDict):
    """What `ParallelPairs.to_dict` returns."""

    pivot: str
    source: str | None
    bitexts: list[SavedBitext]


def save_bitexts(bitexts: Sequence[Bitext], is_multiway: bool) -> list[SavedBitext]:
    """Write bitexts as plain lists and strings.

    Args:
        bitexts: The bitexts.
        is_multiway: Whether all have the same pivot sentences, which are then saved once.
    """
    saved: list[SavedBitext] = []
    for position, bitext in enumerate(bitexts):
        row: SavedBitext = {"language": bitext.language, "sentences": list(bitext.sentences)}
        if position == 0 or not is_multiway:
            row["pivot_sentences"], row["ids"] = list(bitext.pivot_sentences), list(bitext.ids)
            row["documents"] = None if bitext.documents is None else list(bitext.documents)
        saved.append(row)
    return saved


def load_bitexts(pivot: str, saved: Sequence[SavedBitext]) -> dict[str, Bitext]:
    """Read what `save_bitexts` wrote.

    Args:
        pivot: Code of the pivot language.
        saved: The saved bitexts.

    Returns:
        Language code -> bitext.
    """
    bitexts: dict[str, Bitext] = {}
    full: SavedBitext = {}
    for row in saved:
        full = row if "pivot_sentences" in row else full
        documents = full["documents"]
        bitexts[row["language"]] = Bitext(
            row["language"],
            pivot,
            tuple(row["sentences"]),
            tuple(full["pivot_sentences"]),
            tuple(full["ids"]),
            None if documents is None else tuple(documents),
        )
    return bitexts
