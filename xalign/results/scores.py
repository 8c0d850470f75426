"""A score and its interval, from the values of every layer and pair."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Shaped

from xalign.errors import ArgumentError
from xalign.metrics.scale import Scale
from xalign.statistics.documents import Documents
from xalign.statistics.intervals import (
    Interval,
    largest_layer_interval,
    layer_interval,
    share_interval,
)

Over = Literal["mean", "max"]
# One array per language and part of a metric: the score is the mean over them.
Values = Sequence[Shaped[np.ndarray, "layer pair"]]


def check_over(over: str) -> None:
    """Refuse an unknown way to pool layers."""
    if over not in ("mean", "max"):
        raise ArgumentError(f"over={over!r} must be 'mean' or 'max'")


def mean_per_pair(values: Values) -> Shaped[np.ndarray, " pair"]:
    """Return each pair's mean over layers, languages and parts."""
    means: Shaped[np.ndarray, " pair"] = np.mean([layers.mean(axis=0) for layers in values], axis=0)
    return means


def score_of(values: Values, over: Over, scale: Scale) -> float:
    """Return the mean over layers, or the best layer's value, averaged over languages and parts."""
    means = [layers.mean(axis=1) for layers in values]
    if over == "mean":
        return float(np.mean([layers.mean() for layers in means]))
    return float(np.mean([layers[scale.best(layers.tolist())] for layers in means]))


def interval_of(
    values: Values, over: Over, scale: Scale, *, seed: int, documents: Documents | None
) -> Interval:
    """Return the 95 % interval of `score_of`, over documents if they are given, else over sentences.

    The interval of a best layer is at least as wide as that of its shares, because resampling alone gives no
    width if all shares are equal.
    """
    if over == "mean":
        return interval_of_layer(mean_per_pair(values), scale, seed=seed, documents=documents)
    sign = 1 if scale.higher_is_better else -1
    signed = [sign * layers for layers in values]
    low, high = sorted(sign * end for end in largest_layer_interval(signed, seed=seed, documents=documents))
    if not scale.is_share:
        return low, high
    best = [layers[scale.best(layers.mean(axis=1).tolist())] for layers in values]
    least, most = share_interval(np.mean(best, axis=0), documents=documents)
    return min(low, least), max(high, most)


def interval_of_layer(
    values: Shaped[np.ndarray, " pair"], scale: Scale, *, seed: int, documents: Documents | None
) -> Interval:
    """Return the 95 % interval of the mean of one layer, or of each pair's mean over layers."""
    if scale.is_share:
        return share_interval(values, documents=documents)
    return layer_interval(values, seed=seed, documents=documents)
