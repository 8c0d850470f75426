"""`ibm1`: which token translates which, learnt from parallel text alone by IBM Model 1 with positions."""

from collections.abc import Sequence
from inspect import signature

import numpy as np
from jaxtyping import Bool, Float, Int

from xalign.checks import boolean, positive, whole_number
from xalign.errors import ArgumentError
from xalign.links.aligner import Aligner, Links, OneWay, check_sides, turned
from xalign.links.cells import Cells, Sentence
from xalign.links.em import learn, positions, without_own

_TIE = 1e-9  # scores that differ by less of themselves are equal


def ibm1(
    sources: Sequence[Sentence],
    targets: Sequence[Sentence],
    *,
    iterations: int = 5,
    null: float = 0.08,
    smoothing: float = 0.001,
    diagonal: bool = True,
    leave_one_out: bool = False,
) -> OneWay:
    """Link each target token to the source token that most probably gave rise to it, or to none.

    p(t_j) = null · p(t_j | nothing) + (1 − null) · Σ_i d(i, j) · p(t_j | s_i). The tables p and the tension λ
    of the position term d(i, j) ∝ exp(−λ · |i / I − j / J|) are learnt by EM from an even start, so nothing
    is drawn at random. Where several source tokens are equally probable, the one nearest to the diagonal
    wins, and then the first.

    Args:
        sources: Sentences as tokens, ids or strings.
        targets: Their translations; row i translates row i.
        iterations: The number of passes of EM over the text.
        null: The probability of a target token that translates nothing, between 0 and 1.
        smoothing: Added to each count.
        diagonal: Learn the position term; without it, this is plain Model 1, and d is uniform.
        leave_one_out: Link each pair by what the other pairs say: its own expected counts are first
            subtracted from the tables. Words that occur in only one pair are then linked by position.

    Returns:
        Per pair the links (source position, target position), at most one per target token, and its score
        −mean_j log max_i p(t_j | s_i).

    Raises:
        ArgumentError: A number out of range.
        PairsError: Sides of unequal length, no pair, or a sentence without tokens.

    Reference:
        Brown et al. (1993), Model 1; Dyer, Chahuneau and Smith (2013) for the position term and `null`. The
        score is the one that eflomal reports.

    Example:
        >>> ibm1([["the", "house"], ["the", "book"]], [["das", "Haus"], ["das", "Buch"]]).links
        [[(0, 0), (1, 1)], [(0, 0), (1, 1)]]
    """
    iterations = whole_number("iterations", iterations, least=1)
    smoothing, null = positive("smoothing", smoothing), positive("null", null)
    if null >= 1:
        raise ArgumentError(f"null={null} is a probability, and must be below 1")
    check_sides(sources, targets)
    cells = Cells.of(sources, targets)
    table = learn(cells, iterations, null, smoothing, boolean("diagonal", diagonal))
    if boolean("leave_one_out", leave_one_out):
        of_cell, of_nothing = without_own(cells, table, smoothing)
    else:
        of_cell, of_nothing = table.of_type[cells.type_pair], table.of_nothing[cells.target]
    likely = (1 - null) * positions(cells, table.tension) * of_cell
    chosen, best = _choose(cells, likely)
    links = _by_pair(cells, chosen, best > null * of_nothing)
    logs = np.log(cells.largest(table.of_type[cells.type_pair]))
    scores = -np.bincount(cells.pair, logs) / np.bincount(cells.pair)
    return OneWay(links, tuple(scores.tolist()))


def ibm1_both(
    language: Sequence[Sentence], pivot: Sequence[Sentence], **options: float | bool
) -> tuple[OneWay, OneWay]:
    """Run `ibm1` in both directions, each on its own.

    Args:
        language: Sentences as tokens.
        pivot: The sentences that they translate.
        **options: The options of `ibm1`.

    Returns:
        Links (language position, pivot position): first with at most one per pivot token, then with at most
        one per token of the language.
    """
    return ibm1(language, pivot, **options), turned(ibm1(pivot, language, **options))  # type: ignore[arg-type]


IBM1 = Aligner(
    "ibm1", ibm1_both, "IBM Model 1 with a position term, built in", tuple(signature(ibm1).parameters)[2:]
)


def _choose(
    cells: Cells, values: Float[np.ndarray, " cell"]
) -> tuple[Int[np.ndarray, " token"], Float[np.ndarray, " token"]]:
    """Return, per target token, the source position with the largest value, and this value."""
    best = cells.largest(values)
    is_best = values >= cells.spread(best) * (1 - _TIE)
    distances = np.where(is_best, cells.distance, np.inf)
    nearest = cells.spread(-cells.largest(-distances))
    cell = np.flatnonzero(is_best & (distances <= nearest))
    token = cells.spread(np.arange(len(cells.target)))[cell]
    first = cell[np.unique(token, return_index=True)[1]]
    return first - cells.starts, best


def _by_pair(cells: Cells, chosen: Int[np.ndarray, " token"], is_linked: Bool[np.ndarray, " token"]) -> Links:
    """Return the links of each pair, sorted."""
    lengths = np.bincount(cells.pair)
    place = np.arange(len(cells.target)) - (np.cumsum(lengths) - lengths)[cells.pair]
    links: Links = [[] for _ in lengths]
    rows = zip(cells.pair.tolist(), chosen.tolist(), place.tolist(), is_linked.tolist(), strict=True)
    for pair, source, target, linked in rows:
        if linked:
            links[pair].append((source, target))
    return [sorted(pair) for pair in links]
