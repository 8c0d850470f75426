"""`TransplantBound`: what transplants solved, beside transplants from other items."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jaxtyping import Bool
from torch import Tensor

from xalign.errors import ArgumentError
from xalign.statistics.intervals import Interval, bootstrap_interval, share_interval

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, eq=False)
class TransplantBound:
    """Which items were solved by which transplant.

    Attributes:
        pairs: (source block, target block) of each try.
        plain: Per item, whether the model solves it by itself.
        solved: Per try and item, whether it is solved by a transplant from its own source prompt.
        control: Per draw, try and item, whether it is solved by one from a random other item.
        provenance: The model, and the kind of sub-layer.
    """

    pairs: tuple[tuple[int, int], ...]
    plain: Bool[Tensor, " item"]
    solved: Bool[Tensor, "try item"]
    control: Bool[Tensor, "draw try item"]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def plain_share(self) -> float:
        """The share of items that the model solves by itself."""
        return _share(self.plain)

    @property
    def union(self) -> float:
        """The share of items that any try solves: the upper bound."""
        return _share(self.solved.any(dim=0))

    @property
    def chance_union(self) -> float:
        """The same share for transplants from other items: what so many tries solve by chance.

        It is the mean over the draws.

        Raises:
            ArgumentError: There are no controls (`controls=0`).
        """
        self._check_drawn()
        return _share(self.control.any(dim=1))

    @property
    def best_pair(self) -> tuple[tuple[int, int], float]:
        """The pair of blocks that solves most items, and their share; of equal ones the first."""
        shares = self.solved.double().mean(dim=1)
        return self.pairs[int(shares.argmax())], float(shares.max())

    def union_from(self, source: int) -> float:
        """Return the share of items that any try from one source block solves."""
        return self._union_of([number for number, (one, _) in enumerate(self.pairs) if one == source], source)

    def union_to(self, target: int) -> float:
        """Return the share of items that any try to one target block solves."""
        return self._union_of([number for number, (_, one) in enumerate(self.pairs) if one == target], target)

    def _union_of(self, tries: list[int], layer: int) -> float:
        if not tries:
            raise ArgumentError(f"no pair has block {layer} there; there is {list(self.pairs)[:8]}")
        return _share(self.solved[tries].any(dim=0))

    def _check_drawn(self) -> None:
        if not len(self.control):
            raise ArgumentError("no control was drawn; run transplant_upper_bound with controls=1 or more")

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a dict per share, with its 95 % interval over items.

        With controls, there are also the chance union and, paired over items, how far the union lies above
        it.
        """
        (source, target), _ = self.best_pair
        best = self.solved[self.pairs.index((source, target))]
        values = {
            "plain": self.plain,
            f"best pair {source} to {target}": best,
            "union": self.solved.any(dim=0),
        }
        if len(self.control):
            values["chance union"] = self.control.any(dim=1).double().mean(dim=0)
        rows = [_row(name, one, share_interval(one.double().numpy())) for name, one in values.items()]
        if len(self.control):
            above = values["union"].double() - values["chance union"]
            rows.append(_row("union above chance", above, bootstrap_interval(above.numpy())))
        return rows

    def table(self) -> "Table":
        """Return the shares as a rich table."""
        from rich.table import Table

        table = Table("solved", "share", "95 %", title=f"{len(self.pairs)} transplants", box=None)
        for row in self.to_rows():
            table.add_row(row["what"], f"{row['share']:.3f}", f"[{row['low']:.3f}, {row['high']:.3f}]")
        return table


def _row(name: str, values: Tensor, interval: Interval) -> dict[str, Any]:
    low, high = interval
    return {"what": name, "share": _share(values), "low": low, "high": high, "n": len(values)}


def _share(solved: Tensor) -> float:
    return float(solved.double().mean())
