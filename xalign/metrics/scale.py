"""`Scale`: what a metric's numbers mean. Reports and histories save it beside the numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

SHARE = (0.0, 1.0)
LARGEST = 1e100
"""The largest value or bound of a metric, so that sums of squares stay finite."""


@dataclass(frozen=True, slots=True)
class Scale:
    """What a metric's numbers mean on an axis, in a table and in a comparison.

    Attributes:
        title: The name of the metric on figures and pages.
        unit: The unit of its values, as an axis label.
        bounds: The smallest and the largest possible value; None if there is no bound.
        higher_is_better: Whether a larger value is better.

    Example:
        >>> error = Scale("Error", unit="nats", bounds=None, higher_is_better=False)
        >>> error.best([0.5, 0.2, 0.2]), error.beats(0.2, 0.3), error.is_share
        (1, True, False)
    """

    title: str
    unit: str = ""
    bounds: tuple[float, float] | None = None
    higher_is_better: bool = True

    @property
    def is_share(self) -> bool:
        """Whether values lie in [0, 1], so that figures of several metrics can share an axis."""
        return self.bounds == SHARE

    def limits(self, low: float, high: float) -> tuple[float, float]:
        """Return the ends of an axis: 0 and 1 for shares, otherwise the given ends of the values shown."""
        return SHARE if self.is_share else (low, high)

    def agrees_with(self, other: "Scale") -> bool:
        """Return whether numbers on both scales can be compared; titles may differ."""
        return replace(self, title=other.title) == other

    def beats(self, value: float, other: float) -> bool:
        """Return whether a value is strictly better than another."""
        return value > other if self.higher_is_better else value < other

    def best(self, values: Sequence[float]) -> int:
        """Return the index of the best value; of equal values, the first."""
        pick = max if self.higher_is_better else min
        return pick(range(len(values)), key=values.__getitem__)

    def worse_to_better(self, low: float, high: float) -> tuple[float, float]:
        """Return the ends of an interval, the worse one first."""
        return (low, high) if self.higher_is_better else (high, low)

    def of_row(self, metric: str, row: str) -> "Scale":
        """Return the scale of one row of a metric. A metric of several rows titles each after its name.

        Args:
            metric: The name of the metric that this is the scale of.
            row: The name of the row.

        Example:
            >>> Scale("Retrieval").of_row("retrieval", "retrieval_to_pivot").title
            'Retrieval to pivot'
        """
        return self if row == metric else replace(self, title=title_of(row))


def title_of(name: str) -> str:
    """Return a title made from a name.

    Example:
        >>> title_of("mean_cosine")
        'Mean cosine'
    """
    return name.replace("_", " ").capitalize()
