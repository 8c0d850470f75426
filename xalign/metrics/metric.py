"""`Metric`: a number that `measure` takes, with everything that others must know of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor

from xalign.errors import ArgumentError, ArgumentTypeError

Source = Literal["neuron_states", "neuron_values", "hidden"]
Over = Literal["similarity", "states"]
Compute = Callable[..., Tensor]
SOURCES: tuple[Source, ...] = ("neuron_states", "neuron_values", "hidden")
SHARE = (0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Scale:
    """What a metric's numbers mean on an axis, in a table and in a comparison. Saved with every report.

    Attributes:
        title: Its name on figures and pages.
        unit: What its values are, for axes.
        bounds: The smallest and the largest value there can be; None where there is no bound.
        higher_is_better: Whether a larger value is better.
    """

    title: str
    unit: str = ""
    bounds: tuple[float, float] | None = None
    higher_is_better: bool = True

    @property
    def is_share(self) -> bool:
        """Whether values lie in [0, 1], so that figures share one axis."""
        return self.bounds == SHARE

    def limits(self, low: float, high: float) -> tuple[float, float]:
        """The ends of an axis: 0 and 1 for shares, else those of the values at hand."""
        return SHARE if self.is_share else (low, high)


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric, beside the function that computes it. One line in `METRICS` makes it known by name.

    Attributes:
        name: What users type, and the key in reports and logs.
        title: Its name on figures and pages.
        reads: What is read in the model: `"neuron_states"` and `"neuron_values"` in every block, or `"hidden"`,
            the hidden states that Hugging Face returns.
        compute: From what `over` names to one value per pair: a boolean tensor [pair] of bits, or floats.
        over: `"similarity"`: the cosine matrix [pair, pair] of one layer, pivot sentences in rows;
            `"states"`: the pivot's and the other language's pooled states of one layer, both [pair, width].
        bounds: The smallest and the largest value; `(0, 1)` for shares of pairs; None without bounds.
        chance: From the number of pairs to the value expected without any information; None where it is not
            known.
        has_floor: Whether the same metric of token counts is a floor for it (the lexical floor).
        parts: Row of the report -> function, where one metric gives several rows; then `compute` is None, and
            the score is the mean of the rows.
        unit: What its values are, for axes.
        higher_is_better: Whether a larger value is better.

    Raises:
        ArgumentError: Neither or both of `compute` and `parts`, an unknown source, or a name that cannot be a
            key.

    Example:
        >>> import torch
        >>> from xalign.metrics import METRICS
        >>> METRICS["nasca"].chance(100)
        0.005025125628140704
        >>> def mean_cosine(similarity):
        ...     return similarity.diagonal()
        >>> Metric("mean_cosine", "Mean cosine", "hidden", mean_cosine, bounds=(-1.0, 1.0)).scale.is_share
        False
    """

    name: str
    title: str
    reads: Source
    compute: Compute | None = None
    over: Over = "similarity"
    bounds: tuple[float, float] | None = SHARE
    chance: Callable[[int], float] | None = None
    has_floor: bool = True
    parts: Mapping[str, Compute] | None = None
    unit: str = ""
    higher_is_better: bool = True

    def __post_init__(self) -> None:
        """Refuse a metric that cannot be measured."""
        if not isinstance(self.name, str) or not self.name.isidentifier():
            raise ArgumentError(
                f"name={self.name!r:.60} must be a word of letters, digits and _, as a key in logs"
            )
        if self.reads not in SOURCES:
            raise ArgumentError(f"reads={self.reads!r:.60} must be one of {', '.join(SOURCES)}")
        if self.over not in ("similarity", "states"):
            raise ArgumentError(f"over={self.over!r:.60} must be 'similarity' or 'states'")
        if (self.compute is None) == (self.parts is None):
            raise ArgumentError(f"metric {self.name!r} needs compute= or parts=, and not both")
        if self.over == "states" and self.has_floor:
            raise ArgumentError(
                f"metric {self.name!r} is computed over states, which token counts have not: has_floor=False"
            )

    @property
    def rows(self) -> dict[str, Compute]:
        """Row of the report -> the function that gives it."""
        if self.parts is not None:
            return dict(self.parts)
        return {} if self.compute is None else {self.name: self.compute}

    @property
    def scale(self) -> Scale:
        """What its numbers mean."""
        bounds = None if self.bounds is None else (float(self.bounds[0]), float(self.bounds[1]))
        return Scale(self.title, self.unit, bounds, self.higher_is_better)

    def scale_of(self, row: str) -> Scale:
        """The scale of one of its rows, which has a title of its own where there are several."""
        return replace(self.scale, title=self.title if row == self.name else _title(row))


def resolve_metrics(metrics: object, known: Mapping[str, Metric]) -> tuple[Metric, ...]:
    """The metrics meant by a list of names, `Metric` objects and plain functions.

    A plain function takes the similarity matrix [pair, pair] of a layer's hidden states, gives a value per
    pair, and is named after itself. Its scale is not known: it has no bounds, no chance and no floor.

    Args:
        metrics: The list.
        known: Name -> metric.

    Raises:
        ArgumentTypeError: What is no list.
        ArgumentError: An empty list, an unknown name, or a metric twice.
    """
    names = ", ".join(known)
    if isinstance(metrics, str) or not isinstance(metrics, Sequence):
        raise ArgumentTypeError(f"metrics must be a list of names, like ['nasca'], not {metrics!r}")
    if not metrics:
        raise ArgumentError(f"metrics is empty; choose from {names}")
    unknown = [one for one in metrics if not _is_metric(one, known)]
    if unknown:
        raise ArgumentError(
            f"metrics={unknown!r} unknown; choose from {names}, or pass a Metric or a function of your own"
        )
    found = tuple(_resolve(one, known) for one in metrics)
    rows = [row for metric in found for row in metric.rows]
    if len({metric.name for metric in found}) != len(found) or len(set(rows)) != len(rows):
        raise ArgumentError(f"metrics={[metric.name for metric in found]!r} names a metric twice")
    return found


def _is_metric(given: Any, known: Mapping[str, Metric]) -> bool:
    if isinstance(given, str):
        return given in known
    return isinstance(given, Metric) or callable(given)


def _resolve(given: Any, known: Mapping[str, Metric]) -> Metric:
    if isinstance(given, Metric):
        return given
    if isinstance(given, str):
        return known[given]
    name = getattr(given, "__name__", type(given).__name__)
    return Metric(name, _title(name), "hidden", given, bounds=None, has_floor=False)


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()
