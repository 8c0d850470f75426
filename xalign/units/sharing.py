"""Which labels share a unit: the groups of a set, and the kinds that follow from them."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int

from xalign.units.columns import KINDS_OF_UNITS, Array, Columns
from xalign.units.same_units import keys_of


def sharing_groups(columns: Columns) -> tuple[Bool[Array, "group label"], Int[Array, " row"]]:
    """Group units by the set of labels that they stand under.

    Args:
        columns: The rows; a unit that stands under several labels has a row for each.

    Returns:
        Per group, which of the labels share its units; and per row, the number of its group.
    """
    (keys,) = keys_of(columns)
    units, of_unit = np.unique(keys, return_inverse=True)
    stands = np.zeros((len(units), len(columns.labels)), bool)
    stands[of_unit, columns.label] = True
    packed = np.packbits(stands, axis=1)
    _, first, group = np.unique(packed, axis=0, return_index=True, return_inverse=True)
    return stands[first], group.reshape(-1)[of_unit]


def kinds_by_reach(reach: Int[Array, " row"], labels: int) -> Int[Array, " row"]:
    """Return the number of each unit's kind in `KINDS_OF_UNITS`.

    Args:
        reach: By how many labels each unit is shared; 0 if by none, which has no kind.
        labels: How many labels there are.

    Example:
        >>> [KINDS_OF_UNITS[kind] for kind in kinds_by_reach(np.array([0, 1, 2, 3]), labels=3)]
        ['', 'specific', 'related', 'general']
    """
    specific, related, general = (KINDS_OF_UNITS.index(kind) for kind in KINDS_OF_UNITS[1:])
    kinds = np.where(reach >= labels, general, np.where(reach == 1, specific, related))
    return np.where(reach > 0, kinds, 0)


def is_shared_by(columns: Columns, labels: Sequence[str], *, exactly: bool) -> Bool[Array, " row"]:
    """Return per row whether its unit stands under all of some labels, and, with `exactly`, no other."""
    stands, group = sharing_groups(columns)
    wanted = np.isin(np.array(columns.labels), labels)
    lacks, has_others = (stands < wanted).sum(axis=1), (stands > wanted).sum(axis=1)
    fits: Bool[Array, " group"] = (lacks + has_others if exactly else lacks) == 0
    chosen: Bool[Array, " row"] = fits[group]
    return chosen
