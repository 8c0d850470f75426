"""Expectation maximisation of IBM Model 1 with positions: probabilities of types, and a tension."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from xalign.links.cells import Cells

_STEEPEST = 100.0  # the largest tension; at 50, identical text is linked on its diagonal and nowhere else
_NEWTON_STEPS = 3


@dataclass(frozen=True, slots=True)
class Table:
    """What EM has learnt, and the expected counts that it is made of.

    Attributes:
        of_type: Per pair of types, p(target type | source type).
        of_nothing: Per target type, p(target type | no source token).
        tension: λ of the position term, 0 where positions do not count.
        posterior: Per cell, the probability that its source token gave rise to its target token.
        posterior_nothing: Per target token, the probability that none did.
    """

    of_type: Float[np.ndarray, " type_pair"]
    of_nothing: Float[np.ndarray, " target_type"]
    tension: float
    posterior: Float[np.ndarray, " cell"]
    posterior_nothing: Float[np.ndarray, " token"]


def learn(cells: Cells, iterations: int, null: float, smoothing: float, diagonal: bool) -> Table:
    """Run EM from even probabilities.

    Args:
        cells: The corpus.
        iterations: The number of passes over the corpus, at least 1.
        null: The probability of a target token that translates nothing.
        smoothing: Added to each count.
        diagonal: Whether the tension is learnt; it stays 0 otherwise.
    """
    sources, targets = cells.vocabulary
    even = 1 / targets
    table = Table(np.full(len(cells.source_of), even), np.full(targets, even), 0.0, np.empty(0), np.empty(0))
    for _ in range(iterations):
        joint = (1 - null) * positions(cells, table.tension) * table.of_type[cells.type_pair]
        nothing = null * table.of_nothing[cells.target]
        total = cells.sum(joint) + nothing
        posterior, posterior_nothing = joint / cells.spread(total), nothing / total
        counts = np.bincount(cells.type_pair, posterior, minlength=len(cells.source_of))
        of_source = np.bincount(cells.source_of, counts, minlength=sources)
        of_nothing = np.bincount(cells.target, posterior_nothing, minlength=targets)
        table = Table(
            (counts + smoothing) / (of_source[cells.source_of] + smoothing * targets),
            (of_nothing + smoothing) / (of_nothing.sum() + smoothing * targets),
            _tension(cells, table.tension, posterior) if diagonal else 0.0,
            posterior,
            posterior_nothing,
        )
    return table


def positions(cells: Cells, tension: float) -> Float[np.ndarray, " cell"]:
    """Return d(i, j): per cell the probability of its source position, given its target position."""
    weights = np.exp(-tension * cells.distance)
    shares: Float[np.ndarray, " cell"] = weights / cells.spread(cells.sum(weights))
    return shares


def _tension(cells: Cells, tension: float, posterior: Float[np.ndarray, " cell"]) -> float:
    """Return the tension under which positions are as far from the diagonal as the posterior has them.

    Newton's method: the likelihood is concave in the tension.
    """
    mass = cells.sum(posterior)
    observed = (posterior * cells.distance).sum()
    for _ in range(_NEWTON_STEPS):
        weights = positions(cells, tension) * cells.distance
        mean = cells.sum(weights)
        variance = cells.sum(weights * cells.distance) - mean**2
        slope, curve = (mass * mean).sum() - observed, (mass * variance).sum()
        if curve <= np.finfo(float).tiny:  # all sentences have one token, or the tension is very steep
            break
        tension = float(np.clip(tension + slope / curve, 0.0, _STEEPEST))
    return tension


def without_own(
    cells: Cells, table: Table, smoothing: float
) -> tuple[Float[np.ndarray, " cell"], Float[np.ndarray, " token"]]:
    """Return the table as it would be without the expected counts of each cell's own pair of sentences.

    Args:
        cells: The corpus.
        table: What was learnt of it.
        smoothing: Added to each count.

    Returns:
        Per cell p(target type | source type), and per target token p(target type | no source token).
    """
    sources, targets = cells.vocabulary
    counts = np.bincount(cells.type_pair, table.posterior, minlength=len(cells.source_of))
    of_source = np.bincount(cells.source_of, counts, minlength=sources)
    pair = cells.spread(cells.pair)
    source = cells.source_of[cells.type_pair]
    rest = counts[cells.type_pair] - _own(pair, cells.type_pair, table.posterior)
    rest_of_source = of_source[source] - _own(pair, source, table.posterior)
    of_nothing = np.bincount(cells.target, table.posterior_nothing, minlength=targets)
    rest_of_nothing = of_nothing[cells.target] - _own(cells.pair, cells.target, table.posterior_nothing)
    all_of_nothing = of_nothing.sum() - np.bincount(cells.pair, table.posterior_nothing)[cells.pair]
    # Differences of equal sums may be a rounding error below 0.
    return (
        (rest.clip(0) + smoothing) / (rest_of_source.clip(0) + smoothing * targets),
        (rest_of_nothing.clip(0) + smoothing) / (all_of_nothing.clip(0) + smoothing * targets),
    )


def _own(
    pair: Int[np.ndarray, " n"], kind: Int[np.ndarray, " n"], values: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Return, per entry, the sum of the values of all entries of its pair and kind."""
    _, group = np.unique(pair * (int(kind.max()) + 1) + kind, return_inverse=True)
    sums: Float[np.ndarray, " n"] = np.bincount(group, values)[group]
    return sums
