"""The four stages of a model's depth, from how many neurons per layer are general or belong to languages."""

from collections.abc import Sequence
from itertools import pairwise, starmap

import numpy as np

from xalign.errors import ArgumentError

STAGES = ("understanding", "shared reasoning", "output transformation", "vocabulary output")
_RUN = 2  # layers in which general neurons must prevail in a row


def depth_stages(of_languages: Sequence[int], general: Sequence[int]) -> dict[str, range] | None:
    """Divide layers into four stages. This is a heuristic: the paper describes the stages, and gives no rule.

    Let g be the share of all general neurons that are in a layer, and s the share of all neurons of languages
    (specific or related) that are. General neurons prevail where g > s in at least two layers in a row.

    - *understanding*: the layers before general neurons first prevail;
    - *shared reasoning*: from there to the last layer, before the last stage, where they prevail;
    - *output transformation*: from there to the last local minimum of g behind the first two layers of shared
      reasoning;
    - *vocabulary output*: the layers behind that minimum, in which g rises again.

    Args:
        of_languages: How many specific and related neurons each layer has.
        general: How many general ones.

    Returns:
        Stage -> its layers, which may be none. None if general neurons prevail nowhere.

    Raises:
        ArgumentError: Counts of different numbers of layers, negative ones, or none above 0.

    Reference:
        Zhang et al. (2025), How does Alignment Enhance LLMs' Multilingual Capabilities?, §5.

    Example:
        >>> stages = depth_stages([9, 7, 1, 0, 0, 5, 8, 6], [2, 3, 8, 9, 9, 4, 1, 5])
        >>> {name: list(layers) for name, layers in stages.items()}["shared reasoning"]
        [2, 3, 4]
        >>> [len(layers) for layers in stages.values()]
        [2, 3, 2, 1]
    """
    s, g = _shares("of_languages", of_languages), _shares("general", general)
    if len(s) != len(g):
        raise ArgumentError(f"of_languages has {len(s)} layers and general {len(g)}; give a count per layer")
    prevails = np.append(g > s, False)
    starts = [at for at in range(len(g) - 1) if prevails[at] and prevails[at + 1]]
    if not starts:
        return None
    first, n = starts[0], len(g)
    behind = range(first + _RUN, n)
    minima = [at for at in behind if g[at] <= g[at - 1] and (at == n - 1 or g[at] < g[at + 1])]
    turn = minima[-1] if minima else n - 1
    last = max(at for at in range(first, turn + 1) if prevails[at] and (at in starts or at - 1 in starts))
    ends = (0, first, last + 1, turn + 1, n)
    return dict(zip(STAGES, starmap(range, pairwise(ends)), strict=True))


def _shares(name: str, counts: Sequence[int]) -> np.ndarray:
    found = np.asarray(counts, dtype=np.float64)
    if found.ndim != 1 or not len(found) or (found < 0).any() or not found.sum() > 0:
        raise ArgumentError(f"{name} must be a count per layer, none negative and not all 0")
    shares: np.ndarray = found / found.sum()
    return shares
