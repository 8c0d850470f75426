"""The fields of saved reports and histories, with their types and ranges."""

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from xalign.metrics.scale import LARGEST, Scale
from xalign.schema import Count, Duration, Fields, Language, Name, Provenance, Share, Size, Text

Layers = Annotated[list[Count | Text], Meta(min_length=1)]
Readings = Annotated[list[Text], Meta(min_length=1)]


class ScaleFields(Fields):
    """The meaning of a metric's numbers."""

    title: str
    unit: str
    bounds: tuple[float, float] | None
    higher_is_better: bool

    def __post_init__(self) -> None:
        """Refuse bounds in the wrong order, and those that no mean can be taken of."""
        if self.bounds is not None and not -LARGEST <= self.bounds[0] < self.bounds[1] <= LARGEST:
            raise ValueError(
                f"Expected a smaller and a larger bound from {-LARGEST} to {LARGEST}, got {list(self.bounds)}"
            )

    def scale(self) -> Scale:
        """Return it as the object that views ask."""
        return Scale(self.title, self.unit, self.bounds, self.higher_is_better)


class StatsFields(Fields):
    """How the tokenizer splits the sentences of a language; of recordings, how long they are too."""

    tokens_per_sentence: Duration
    unknown_share: Share
    seconds_per_sentence: Duration | None = None


class CostFields(Fields):
    """The cost of a measurement."""

    seconds: Duration
    cpu_seconds: Duration
    peak_bytes: Count
    tokens: Count
    forwards: Count


class RowFields(Fields):
    """A row of a report. Files of 0.1.0 have neither metric nor scale nor chance."""

    layers: Layers
    readings: Readings
    metric: Name | None = None
    scale: ScaleFields | None = None
    chance: dict[Language, float | None] | UnsetType = UNSET


class ReportFields(Fields):
    """What `report.json` holds."""

    step: Count | None
    seed: Annotated[int, Meta(ge=0)]
    scores: dict[Name, float]
    provenance: Provenance
    cost: CostFields
    stats: dict[Language, StatsFields]
    metrics: Annotated[dict[Name, RowFields], Meta(min_length=1)]
    pairs: dict[str, Any]


class Marks(Struct):
    """The names of the settings that must agree, in a provenance."""

    compared: list[str]
    continued: list[str]


class Origin(Struct):
    """The entries of a report's provenance that are used; others may be there."""

    model: str | None = None
    revision: str | None = None
    fingerprint: str | None = None
    must_agree: Marks | None = None
    versions: dict[str, str] | None = None


class NumbersFields(Fields):
    """The numbers of a language in an entry of a history, one of each list per layer.

    Entries of before intervals over documents say nothing of documents: theirs are over sentences.
    """

    n: Size
    chance: float | None
    floor: float | None
    value: list[float]
    low: list[float]
    high: list[float]
    documents: Size | None = None

    def __post_init__(self) -> None:
        """Refuse lists of different lengths, and intervals whose ends are in the wrong order."""
        if not len(self.value) == len(self.low) == len(self.high):
            raise ValueError("Expected `value`, `low` and `high` of one length")
        if any(low > high for low, high in zip(self.low, self.high, strict=True)):
            raise ValueError("Expected `low` to be at most `high`")


class EntryRowFields(Fields):
    """A row of an entry. Files of 0.1.0 have neither metric nor scale."""

    layers: Layers
    readings: Readings
    languages: Annotated[dict[Language, NumbersFields], Meta(min_length=1)]
    metric: Name | None = None
    scale: ScaleFields | None = None


class EntryCostFields(Fields):
    """The cost of a measurement, as an entry of a history keeps it."""

    seconds: Duration
    cpu_seconds: Duration


class EntryFields(Fields):
    """An entry of a history: one line of its file."""

    schema_version: int
    kind: str
    step: Count
    model: str | None
    revision: str | None
    pivot: Language
    settings: dict[str, Any]
    cost: EntryCostFields
    metrics: Annotated[dict[Name, EntryRowFields], Meta(min_length=1)]
    unknown: dict[Language, Share] | None = None


class Version(Struct):
    """What is read of an entry before anything else: whether this version can read the rest."""

    schema_version: int
    kind: str


class Marked(Struct):
    """The setting of an entry that is used by name; others may be there."""

    fingerprint: str | None
