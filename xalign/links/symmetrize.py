"""Combine the links of both directions into one set of links."""

from collections.abc import Callable

from xalign.errors import ArgumentError
from xalign.links.aligner import Links

Pair = set[tuple[int, int]]
_NEIGHBOURS = ((-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1))


def intersection(forward: Pair, backward: Pair) -> Pair:
    """Return the links that both directions have; each token has at most one."""
    return forward & backward


def union(forward: Pair, backward: Pair) -> Pair:
    """Return the links that either direction has."""
    return forward | backward


def grow_diag(forward: Pair, backward: Pair) -> Pair:
    """Return the links of both, grown by adjacent links of either that link a token without any."""
    found, allowed = forward & backward, forward | backward
    ones, others = _linked(found)
    grew = True
    while grew:
        grew = False
        for one, other in sorted(found):
            for near in ((one + step, other + across) for step, across in _NEIGHBOURS):
                if near in allowed and near not in found and (near[0] not in ones or near[1] not in others):
                    found.add(near)
                    ones.add(near[0])
                    others.add(near[1])
                    grew = True
    return found


def grow_diag_final_and(forward: Pair, backward: Pair) -> Pair:
    """Return `grow_diag`, plus links of either direction between two tokens that have none yet."""
    found = grow_diag(forward, backward)
    ones, others = _linked(found)
    for one, other in [*sorted(forward), *sorted(backward)]:
        if one not in ones and other not in others:
            found.add((one, other))
            ones.add(one)
            others.add(other)
    return found


def _linked(links: Pair) -> tuple[set[int], set[int]]:
    """Return which positions of each side have a link."""
    return {one for one, _ in links}, {other for _, other in links}


SYMMETRIZATIONS: dict[str, Callable[[Pair, Pair], Pair]] = {
    "intersection": intersection,
    "union": union,
    "grow_diag": grow_diag,
    "grow_diag_final_and": grow_diag_final_and,
}


def symmetrize(forward: Links, backward: Links, how: str = "intersection") -> Links:
    """Combine the links of two directions into one set.

    Args:
        forward: Per pair, links (language position, pivot position).
        backward: The same for the other direction.
        how: `"intersection"`, `"union"`, `"grow_diag"` or `"grow_diag_final_and"`.

    Returns:
        Per pair, the links in order.

    Raises:
        ArgumentError: Another way, or directions with different numbers of pairs.

    Reference:
        Och and Ney (2003), §4.3; Koehn, Och and Marcu (2003) for the ways that grow. As in Moses, links grow
        in the order of their positions.

    Example:
        >>> symmetrize([[(0, 0), (1, 1), (1, 2)]], [[(0, 0), (1, 1), (2, 0)]])
        [[(0, 0), (1, 1)]]
        >>> symmetrize([[(0, 0), (1, 1), (1, 2)]], [[(0, 0), (1, 1), (2, 0)]], "grow_diag")
        [[(0, 0), (1, 1), (1, 2), (2, 0)]]
    """
    check_how(how)
    if len(forward) != len(backward):
        raise ArgumentError(f"one direction has links of {len(forward)} pairs, the other of {len(backward)}")
    combine = SYMMETRIZATIONS[how]
    return [sorted(combine(set(one), set(two))) for one, two in zip(forward, backward, strict=True)]


def check_how(how: object) -> None:
    """Raise an error for an unknown way to combine the links of two directions.

    Raises:
        ArgumentError: It is none.
    """
    if not isinstance(how, str) or how not in SYMMETRIZATIONS:
        raise ArgumentError(f"how={how!r:.60} must be one of {', '.join(SYMMETRIZATIONS)}")
