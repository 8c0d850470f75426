"""The tensors of a saved report, checked when they are read."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from xalign.errors import ArgumentError
from xalign.metrics.compute import ROUNDING
from xalign.metrics.scale import LARGEST, Scale
from xalign.model.architectures.sites import Reading, Site
from xalign.pairs.parallel import ParallelPairs
from xalign.results.values import MetricResult

_DTYPES = (torch.bool, torch.float32, torch.float64)  # what a metric may give


def values_of(
    tensors: Mapping[str, Tensor], name: str, pairs: ParallelPairs, n_sites: int | None, scale: Scale
) -> dict[str, Tensor]:
    """Return the values of every language, [site, pair], or [pair] where there are no sites.

    Raises:
        ArgumentError: A tensor that is missing, or of another shape or dtype, or that holds a number that is
            not finite or lies outside the metric's bounds.
    """
    found = {}
    for language, bitext in pairs.items():
        key = f"{name}/{language}"
        if key not in tensors:
            raise ArgumentError(f"the tensor {key} is missing")
        values = found[language] = tensors[key]
        expected = (len(bitext),) if n_sites is None else (n_sites, len(bitext))
        if tuple(values.shape) != expected:
            raise ArgumentError(f"{key} has shape {tuple(values.shape)}, not {expected}")
        if values.dtype not in _DTYPES:
            raise ArgumentError(f"{key} is {values.dtype}; bits or floats of at least 32 bits are allowed")
        check_bounds(key, [float(values.min()), float(values.max())], scale)
    return found


def check_nothing_left(tensors: Mapping[str, Tensor], metrics: Mapping[str, MetricResult]) -> None:
    """Refuse tensors that no row of a report holds.

    Raises:
        ArgumentError: A tensor too many.
    """
    known = {
        f"{part}/{row}/{language}"
        for row, result in metrics.items()
        for part, of_language in (("values", result.values), ("floors", result.floors))
        for language in of_language
    }
    if tensors.keys() != known:
        raise ArgumentError(f"the tensors {sorted(tensors.keys() - known)!r:.80} belong to no row")


@lru_cache(4096)
def site_of(reading: str) -> Site:
    """Return the site of a reading that was saved as text, such as `3.gate:active:weighted`.

    Raises:
        ArgumentError: Text that is no reading.
    """
    site, *rest = reading.rsplit(":", 2)
    found = Site.parse(site)
    if len(rest) != 2 or str(Reading(found, *rest)) != reading:  # type: ignore[arg-type]
        raise ArgumentError(f"reading={reading!r:.80} must look like '3.gate:active:weighted'")
    return found


def check_bounds(name: str, values: Sequence[float], scale: Scale) -> None:
    """Refuse values outside the bounds of a metric, and those that are not finite.

    Raises:
        ArgumentError: Such values; they are named.
    """
    least, most = scale.bounds or (-LARGEST, LARGEST)
    outside = [one for one in values if not least - ROUNDING <= one <= most + ROUNDING]
    if outside:
        raise ArgumentError(f"{name} has the value {outside[0]}; it must be from {least} to {most}")
