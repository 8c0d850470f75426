"""Bitexts as plain lists and strings, in the form in which a report saves them."""

from collections.abc import Sequence
from typing import Annotated, Any, TypedDict

from msgspec import Meta

from xalign.errors import PairsError
from xalign.pairs.audio import Audio
from xalign.pairs.bitext import Bitext
from xalign.schema import Digest, Duration, Fields, Language, Size, checked


class SavedAudio(TypedDict):
    """What is saved of a recording, without its sound."""

    sha256: str
    rate: int
    seconds: float


SavedItem = str | SavedAudio


class SavedBitext(TypedDict, total=False):
    """One bitext. In n-way text only the first has the fields that are the same for all.

    Attributes:
        language: Code of the language.
        sentences: Its sentences; of those that are spoken, what is known of each recording.
        pivot_sentences: The pivot sentences that they translate.
        ids: An identifier per row.
        documents: A document name per row, or None.
    """

    language: str
    sentences: list[SavedItem]
    pivot_sentences: list[SavedItem]
    ids: list[str]
    documents: list[str] | None


class SavedPairs(TypedDict):
    """What `ParallelPairs.to_dict` returns."""

    pivot: str
    source: str | None
    bitexts: list[SavedBitext]


def save_bitexts(bitexts: Sequence[Bitext[Any]], is_multiway: bool) -> list[SavedBitext]:
    """Write bitexts as plain lists and strings.

    Args:
        bitexts: The bitexts.
        is_multiway: Whether all have the same pivot sentences, which are then saved once.
    """
    saved: list[SavedBitext] = []
    for position, bitext in enumerate(bitexts):
        row: SavedBitext = {"language": bitext.language, "sentences": _save(bitext.sentences)}
        if position == 0 or not is_multiway:
            row["pivot_sentences"], row["ids"] = _save(bitext.pivot_sentences), list(bitext.ids)
            row["documents"] = None if bitext.documents is None else list(bitext.documents)
        saved.append(row)
    return saved


def _save(side: Sequence[str | Audio]) -> list[SavedItem]:
    return [
        {"sha256": one.digest, "rate": one.rate, "seconds": one.seconds} if isinstance(one, Audio) else one
        for one in side
    ]


class _AudioFields(Fields):
    sha256: Digest
    rate: Size
    seconds: Duration


_Items = list[str | _AudioFields]


class _BitextFields(Fields):
    language: Language
    sentences: _Items
    pivot_sentences: _Items | None = None
    ids: list[str] | None = None
    documents: list[str] | None = None


class _PairsFields(Fields):
    pivot: Language
    bitexts: Annotated[list[_BitextFields], Meta(min_length=1)]
    source: str | None = None


def _load(side: _Items) -> tuple[Any, ...]:
    return tuple(
        Audio.remembered(one.sha256, one.rate, one.seconds) if isinstance(one, _AudioFields) else one
        for one in side
    )


def load_bitexts(saved: Any) -> tuple[str, str | None, dict[str, Bitext[Any]]]:
    """Read pairs as `ParallelPairs.to_dict` returns them.

    Args:
        saved: The saved pairs.

    Returns:
        The code of the pivot, the source, and language code -> bitext.

    Raises:
        ArgumentError: A field that is missing, unknown or of another type.
        PairsError: Sides that do not belong together, or a language that is there twice.
    """
    found = checked(_PairsFields, saved, "pairs")
    bitexts: dict[str, Bitext[Any]] = {}
    full = found.bitexts[0]
    for row in found.bitexts:
        if row.language in (found.pivot, *bitexts):
            raise PairsError(f"pairs.bitexts has {row.language} twice, or as pivot and as another language")
        full = full if row.pivot_sentences is None else row
        if full.pivot_sentences is None or full.ids is None:
            raise PairsError(f"pairs.bitexts has no pivot_sentences and ids for {full.language}")
        bitexts[row.language] = Bitext(
            row.language,
            found.pivot,
            _load(row.sentences),
            _load(full.pivot_sentences),
            tuple(full.ids),
            None if full.documents is None else tuple(full.documents),
        )
    return found.pivot, found.source, bitexts
