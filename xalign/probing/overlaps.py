"""How many units each two languages have in common, compared with chance."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
from torch import nn

from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.metrics.unit_overlap import unit_overlap
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.architectures.map import map_model
from xalign.probing.findings import Findings
from xalign.schema import Fields
from xalign.units.unit_set import UnitSet


class _Row(Fields):
    site: str
    one: str
    two: str
    units: int
    shared: int
    share: float
    chance: float
    times_chance: float
    p: float


@dataclass(frozen=True)
class Overlaps(Findings):
    """What `overlaps` found: a row per site and pair of labels.

    Columns: `site`; the labels `one` and `two`; `units`, how many both have together; how many are `shared`;
    `share`, twice that by `units`; `chance`, the share expected of random units, k / d where both have k of
    d; `times_chance`, their quotient, which can be compared between widths; and `p`, the probability that
    random units share at least as many.
    """

    kind: ClassVar[str] = "xalign.Overlaps"
    row: ClassVar[type[Fields]] = _Row
    shown: ClassVar[tuple[str, ...]] = (
        "site",
        "one",
        "two",
        "shared",
        "share",
        "chance",
        "times_chance",
        "p",
    )

    def mean(self, column: str = "share", **where: Any) -> float:
        """Return the mean of a column over the pairs of labels, of all sites or of those in `where`.

        Raises:
            ArgumentError: No such row, or a column that holds no numbers.
        """
        rows = self.where(**where)
        found = [float(row[column]) for row in rows if isinstance(row.get(column), int | float)]
        if not found or len(found) < len(rows):
            raise ArgumentError(f"column={column!r:.40}: no row, or no number, in {where or 'all rows'}")
        return float(np.mean(found))


@takes_layout
def overlaps(units: UnitSet, model: nn.Module) -> Overlaps:
    """Compare the units of every two labels of a set, site by site, however they were found.

    Args:
        units: Units of at least 2 labels, like those of `word_units` or `find_units`.
        model: The model they are of, which says how many units a site has.

    Returns:
        A row per site and pair of labels that have units there.

    Raises:
        ArgumentError: Fewer than 2 labels with units at one site.

    Reference:
        Wang, Minervini and Ponti (2024), Probing the Emergence; chance and p are added here.

    Example:
        >>> rows = [(code, "1.hidden", unit, 1.0, 0.0) for code in ("de", "es") for unit in (3, 5)]
        >>> overlaps(UnitSet.from_rows(rows), model).mean("share")
        1.0
    """
    if not isinstance(units, UnitSet):
        raise ArgumentTypeError(f"units must be a UnitSet, not {type(units).__name__}")
    model_map = map_model(model)
    rows = []
    for site, own in units.by_site().items():
        width = model_map.place(site).width
        by_label: dict[str, list[int]] = {}
        for unit in own:
            by_label.setdefault(unit.label, []).append(unit.index)
        for one, two in combinations(by_label, 2):
            rows.append(_row(str(site), one, two, by_label, width))
    if not rows:
        raise ArgumentError(
            f"units has {', '.join(units.labels) or 'no label'}: no site has units of two labels"
        )
    return Overlaps(tuple(rows), dict(units.provenance))


def _row(site: str, one: str, two: str, by_label: Mapping[str, list[int]], width: int) -> dict[str, Any]:
    found = unit_overlap(by_label[one], by_label[two], width)
    row: dict[str, Any] = {"site": site, "one": one, "two": two}
    row |= {"units": len(by_label[one]) + len(by_label[two]), "shared": found.shared, "share": found.share}
    return row | {"chance": found.chance, "times_chance": found.times_chance, "p": found.p}
