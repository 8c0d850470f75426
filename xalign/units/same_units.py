"""Which rows of two sets are of the same units: by place, or by label and place."""

import numpy as np
from jaxtyping import Bool, Int

from xalign.units.columns import Array, Columns, codes_in, joined

_MOST = 2**63 - 1


def keys_of(*sets: Columns, with_label: bool = False) -> list[Int[Array, " row"]]:
    """Return a number per row of each set, equal where site and index are; `with_label`, the label too."""
    labels = joined(*(one.labels for one in sets))
    sites = joined(*(one.sites for one in sets))
    indices = [one.index for one in sets]
    width = 1 + max(int(index.max(initial=0)) for index in indices)
    if width * max(1, len(sites)) * max(1, len(labels)) > _MOST:  # such indices are no coordinates
        ranks = np.unique(np.concatenate(indices), return_inverse=True)[1]
        width, indices = len(ranks), np.split(ranks, np.cumsum([len(index) for index in indices])[:-1])
    keys = []
    for one, index in zip(sets, indices, strict=True):
        group = codes_in(sites, one.sites).astype(np.int64)[one.site]
        if with_label:
            group += codes_in(labels, one.labels).astype(np.int64)[one.label] * len(sites)
        keys.append(group * width + index)
    return keys


def are_in(one: Columns, other: Columns, *, with_label: bool = False) -> Bool[Array, " row"]:
    """Return per row of one set whether the other set has the same unit."""
    mine, theirs = keys_of(one, other, with_label=with_label)
    return np.isin(mine, theirs)


def first_repeated(columns: Columns, *, with_label: bool = False) -> int | None:
    """Return the first row whose unit comes again later; None if no unit occurs twice."""
    (keys,) = keys_of(columns, with_label=with_label)
    ordered = np.sort(keys)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    return int(np.isin(keys, twice).argmax()) if len(twice) else None
