"""`Metric`: a function that `measure` computes, with everything the rest of the package needs to know."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Real
from typing import Literal, get_args

from torch import Tensor

from xalign.checks import boolean, function_of, whole_number
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.metrics.scale import LARGEST, SHARE, Scale, title_of

__all__ = ["Compute", "Metric", "Over", "Scale", "Source", "check_counts", "resolve_metrics"]

Source = Literal["neuron_states", "neuron_values", "last_neurons", "hidden", "router"]
Over = Literal["similarity", "states", "options", "contexts"]
Compute = Callable[..., Tensor]
SOURCES: tuple[Source, ...] = get_args(Source)
NULL = ":null"
_ITEMS = "'options' or 'contexts'"
OVER: tuple[Over, ...] = get_args(Over)


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric, defined beside the function that computes it. One line in `METRICS` makes it known by name.

    Attributes:
        name: The name that users type, and the key in reports and logs.
        title: Its name on figures and pages.
        reads: What is read in the model: `"neuron_states"` or `"neuron_values"` of every block,
            `"last_neurons"`, the signed values of the neurons at the last token, whatever `pool` is,
            `"hidden"`, the hidden states that Hugging Face returns, or `"router"`, how often each expert of a
            mixture was chosen.
        compute: A function that returns one value per pair: a boolean tensor [pair] of bits, or floats. What
            it takes is set by `over`.
        over: `"similarity"`: `compute` takes the cosine matrix [pair, pair] of one layer, pivot sentences in
            rows. `"states"`: it takes the pooled states of the pivot and of the other language at one layer,
            both [pair, width]. For `measure_items`, `"options"`: the states of the texts of all options of
            both sides, [item, option, width], and `"contexts"`: the cosine matrix [item, item] of contexts.
        bounds: The smallest and the largest possible value: `(0, 1)` for shares of pairs; None without
            bounds.
        chance: A function from the number of pairs to the value expected without any information; None where
            it is not known.
        null: A function of the same arguments as `compute`. It returns the value that each sentence would
            have without its translation. Its mean over pairs and layers is then the chance level of a
            language.
        has_floor: Whether the same function of the similarity of token counts is a lexical floor for it.
        parts: Row of the report -> function, for a metric that gives several rows. `compute` is then None,
            and the score is the mean of the rows.
        unit: The unit of its values, as an axis label.
        higher_is_better: Whether a larger value is better.
        least_pairs: The smallest number of pairs for which it can be computed.
        definition: Its definition, in a sentence or two, as the page of a report shows it.

    Raises:
        ArgumentError: Neither or both of `compute` and `parts`, an unknown source, bounds in the wrong order,
            a floor for a metric of states, or a name that cannot be a key.
        ArgumentTypeError: `compute` or one of the `parts` is not a function.

    Example:
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
    null: Compute | None = None
    least_pairs: int = 2
    definition: str = ""

    def __post_init__(self) -> None:
        """Refuse a metric that cannot be measured."""
        if (self.compute is None) == (not self.parts):
            raise ArgumentError(f"metric {self.name!r:.60} needs compute= or parts=, and not both")
        for key in (self.name, *self.rows):
            if not isinstance(key, str) or not key.isidentifier():
                raise ArgumentError(
                    f"name={key!r:.60} must be a word of letters, digits and _, as a key in logs"
                )
        for row, compute in self.rows.items():
            if not callable(compute) or isinstance(compute, type):
                raise ArgumentTypeError(f"{row} must be computed by a function, not by {compute!r:.60}")
        if self.reads not in SOURCES:
            raise ArgumentError(f"reads={self.reads!r:.60} must be one of {', '.join(SOURCES)}")
        if self.over not in OVER:
            raise ArgumentError(
                f"over={self.over!r:.60} must be 'similarity' or 'states'; of items, {_ITEMS}"
            )
        if not self.takes_similarity and self.has_floor:
            raise ArgumentError(
                f"metric {self.name!r} is computed over {self.over}, and a lexical floor has no states: pass "
                "has_floor=False"
            )
        taken = ("similarity",) if self.takes_similarity else ("pivot", "other")
        for row, compute in self.rows.items():
            function_of(f"the function of metric {row!r}", compute, *taken)
        if self.null is not None:
            if self.chance is not None or self.parts:
                raise ArgumentError(f"metric {self.name!r} takes null= alone, without chance= and parts=")
            function_of(f"the null of metric {self.name!r}", self.null, *taken)
        self._check_scale()

    def _check_scale(self) -> None:
        """Refuse what a report could not hold, before anything is measured."""
        for name in ("title", "unit"):
            if not isinstance(getattr(self, name), str):
                raise ArgumentTypeError(f"{name}={getattr(self, name)!r:.60} must be text")
        boolean("higher_is_better", self.higher_is_better)
        whole_number("least_pairs", self.least_pairs, least=2)
        if self.chance is not None and not callable(self.chance):
            raise ArgumentTypeError(
                f"chance={self.chance!r:.60} must be a function of the number of pairs, or None"
            )
        if self.chance is not None:
            function_of("chance", self.chance, "n")
        bounds: object = self.bounds
        if bounds is None:
            return
        if (
            not isinstance(bounds, tuple | list)
            or len(bounds) != 2
            or not all(isinstance(one, Real) for one in bounds)
            or not -LARGEST <= bounds[0] < bounds[1] <= LARGEST
        ):
            raise ArgumentError(
                f"bounds={bounds!r:.60} must be a smaller and a larger number, both finite and not beyond "
                f"{LARGEST}, or None"
            )

    @property
    def takes_similarity(self) -> bool:
        """Whether its functions take a similarity matrix, and not the states of both sides."""
        return self.over in ("similarity", "contexts")

    @property
    def is_of_items(self) -> bool:
        """Whether `measure_items` computes it from test items, rather than `measure` from pairs."""
        return self.over in ("options", "contexts")

    @property
    def rows(self) -> dict[str, Compute]:
        """Row of the report -> the function that computes it."""
        if self.parts:
            return dict(self.parts)
        return {} if self.compute is None else {self.name: self.compute}

    @property
    def computed(self) -> dict[str, Compute]:
        """What is computed for every reading: the rows, and the null under the name of its row and `NULL`."""
        return self.rows | ({} if self.null is None else {f"{self.name}{NULL}": self.null})

    def chance_of(self, n: int) -> float | None:
        """Return the value expected of n pairs without any information; None where it is not known.

        Raises:
            ArgumentError: `chance` gives no number, or one outside the bounds.
        """
        if self.chance is None:
            return None
        expected = float(self.chance(n))
        least, most = self.bounds or (-LARGEST, LARGEST)
        if not least <= expected <= most:
            raise ArgumentError(
                f"chance of metric {self.name!r} gives {expected} for {n} pairs; it must be from {least} to "
                f"{most}"
            )
        return expected

    @property
    def scale(self) -> Scale:
        """What its numbers mean."""
        bounds = None if self.bounds is None else (float(self.bounds[0]), float(self.bounds[1]))
        return Scale(self.title, self.unit, bounds, self.higher_is_better)


def check_counts(metrics: Sequence[Metric], counts: Mapping[str, int]) -> None:
    """Refuse metrics that cannot be computed from pairs, or from so few pairs.

    Args:
        metrics: The metrics.
        counts: Language -> number of pairs.

    Raises:
        ArgumentError: A metric of items, or a language with fewer than the `least_pairs` of a metric.
    """
    for metric in metrics:
        if metric.is_of_items:
            raise ArgumentError(
                f"metric {metric.name!r} is computed of test items: load_items, and then measure_items"
            )
        few = [f"{code} has {n}" for code, n in counts.items() if n < metric.least_pairs]
        if few:
            raise ArgumentError(
                f"metric {metric.name!r} needs at least {metric.least_pairs} pairs, and {', '.join(few)}; "
                "give more pairs, or leave it out"
            )


def resolve_metrics(metrics: object, known: Mapping[str, Metric]) -> tuple[Metric, ...]:
    """Return the metrics meant by a list of names, `Metric` objects and plain functions.

    A plain function takes the similarity matrix [pair, pair] of a layer's hidden states and returns one value
    per pair. It is reported under its own name. It has no bounds, no chance level and no floor, and higher
    counts as better; use a `Metric` to say otherwise.

    Args:
        metrics: The list. `["all"]` stands for all metrics of pairs that every model has, so not for
            `routing`, which needs a mixture of experts.
        known: Name -> metric.

    Raises:
        ArgumentTypeError: `metrics` is not a list.
        ArgumentError: An empty list, an unknown name, a function without a usable name, or a metric named
            twice.

    Example:
        >>> from xalign.metrics import METRICS
        >>> def mean_cosine(similarity):
        ...     return similarity.diagonal()
        >>> [metric.title for metric in resolve_metrics(["nasca", mean_cosine], METRICS)]
        ['NASCA', 'Mean cosine']
    """
    names = ", ".join(known)
    if isinstance(metrics, str | bytes) or not isinstance(metrics, Sequence):
        raise ArgumentTypeError(f"metrics must be a list of names, like ['nasca'], not {metrics!r}")
    if not metrics:
        raise ArgumentError(f"metrics is empty; choose from {names}")
    if list(metrics) == ["all"]:
        return tuple(one for one in known.values() if not one.is_of_items and one.reads != "router")
    unknown = [one for one in metrics if not _is_metric(one, known)]
    if unknown:
        raise ArgumentError(
            f"metrics={unknown!r} unknown; choose from {names}, or pass a Metric or a function of your own"
        )
    found = tuple(_resolve(one, known) for one in metrics)
    keys = [key for metric in found for key in {metric.name, *metric.rows}]
    if len(set(keys)) != len(keys):
        raise ArgumentError(f"metrics={[metric.name for metric in found]!r} names a metric twice")
    for key in keys:
        start, _, end = key.rpartition("_")
        if start in keys and end == "worst":
            raise ArgumentError(
                f"metrics: the key {key!r} is taken already: the worst language of {start!r} is reported "
                "under it; give your metric another name"
            )
    for metric in found:
        _check_meaning(metric, known)
    return found


def _check_meaning(metric: Metric, known: Mapping[str, Metric]) -> None:
    """Refuse a metric that has the name of another, and another meaning."""
    of_rows = {row: one for one in known.values() for row in (one.name, *one.rows)}
    for row in {metric.name, *metric.rows} & of_rows.keys():
        if not metric.scale.agrees_with(of_rows[row].scale):
            raise ArgumentError(
                f"metrics: {row!r} is the name of another metric, {of_rows[row].scale}; give yours another "
                f"name, because it means {metric.scale}"
            )


def _is_metric(given: object, known: Mapping[str, Metric]) -> bool:
    if isinstance(given, str):
        return given in known
    return isinstance(given, Metric) or (callable(given) and not isinstance(given, type))


def _resolve(given: str | Metric | Compute, known: Mapping[str, Metric]) -> Metric:
    if isinstance(given, Metric):
        return given
    if isinstance(given, str):
        return known[given]
    name = getattr(given, "__name__", type(given).__name__)
    if isinstance(given, partial) or not name.isidentifier():
        raise ArgumentError(
            f"the function {given!r:.60} has no name to be reported under; define it with def, or pass "
            "Metric('my_name', 'My title', 'hidden', function, bounds=None, has_floor=False)"
        )
    return Metric(name, title_of(name), "hidden", given, bounds=None, has_floor=False)
