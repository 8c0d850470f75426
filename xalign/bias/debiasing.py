"""`Debiasing`: bias and loss before a remedy and after it, where it was fitted and elsewhere."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from xalign.errors import ArgumentError
from xalign.escape import cell

if TYPE_CHECKING:
    from rich.table import Table

LOSS = "loss"


@dataclass(frozen=True, slots=True)
class DebiasingRow:
    """One measure of one language.

    Attributes:
        language: The language.
        is_fitted: Whether the remedy was fitted on this language.
        measure: `gap`, the mean likelihood gap in nats; `preferred`, the share of pairs in which the
            stereotype is likelier; `effect` and a site, the effect size there; or `loss`, in nats per token.
        before: Without the remedy.
        after: With it.
        random: The mean over the random controls; None without any.
        low: Lower end of the 95 % interval of after − before, over pairs or sentences; None where unknown.
        high: Its upper end.
    """

    language: str
    is_fitted: bool
    measure: str
    before: float
    after: float
    random: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Debiasing:
    """What a remedy did.

    Attributes:
        name: The remedy.
        rows: A row per measure and language.
    """

    name: str
    rows: tuple[DebiasingRow, ...]

    @property
    def measures(self) -> list[str]:
        """The measures, in order."""
        return list(dict.fromkeys(row.measure for row in self.rows))

    def removed(self, measure: str, *, fitted: bool) -> float | None:
        """Return the share of a bias that is gone, over the languages it was fitted on or over the others.

        It is 1 − a / b, with a and b the mean sizes of the bias after and before: 1 if nothing is left, 0 if
        as much is left, below 0 if there is more. The size is the distance from no bias: from 0, or for
        `preferred` from .5.

        Args:
            measure: One of `measures`, but not `loss`.
            fitted: Average over the languages that it was fitted on; if False, over the others: the transfer.

        Returns:
            The share; None where there is no such language, or no bias before.

        Raises:
            ArgumentError: An unknown measure, or the loss, which is no bias.
        """
        if measure not in self.measures or measure == LOSS:
            known = [one for one in self.measures if one != LOSS]
            raise ArgumentError(f"measure={measure!r:.60} must be one of {', '.join(known)}")
        none = 0.5 if measure == "preferred" else 0.0
        rows = [row for row in self._of(measure) if row.is_fitted == fitted]
        before = sum(abs(row.before - none) for row in rows)
        return 1 - sum(abs(row.after - none) for row in rows) / before if before else None

    def cost(self) -> float | None:
        """Return by how much the loss rose, in nats per token, a mean over languages; None without texts."""
        rows = list(self._of(LOSS))
        return sum(row.after - row.before for row in rows) / len(rows) if rows else None

    def to_rows(self) -> list[dict[str, Any]]:
        """Return the rows as dicts, for JSON or a data frame."""
        return [asdict(row) for row in self.rows]

    def table(self) -> "Table":
        """Return a table for `rich`: a line per measure and language."""
        from rich.table import Table

        table = Table(title=cell(self.name))
        for head in ("measure", "language", "fitted", "before", "after", "change [95 %]", "random"):
            table.add_column(head)
        for row in self.rows:
            change = f"{row.after - row.before:+.3f}"
            if row.low is not None:
                change += f" [{row.low:+.3f}, {row.high:+.3f}]"
            table.add_row(
                *(cell(row.measure), cell(row.language), "yes" if row.is_fitted else "no"),
                *(f"{row.before:+.3f}", f"{row.after:+.3f}", change),
                "" if row.random is None else f"{row.random:+.3f}",
            )
        return table

    def _of(self, measure: str) -> Iterator[DebiasingRow]:
        return (row for row in self.rows if row.measure == measure)
