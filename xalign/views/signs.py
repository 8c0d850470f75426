"""The signs next to scores: whether a score is better than chance and its lexical floor."""

from collections.abc import Iterable

from xalign.metrics.scale import Scale
from xalign.results.standing import Standing

# By standing, for metrics where higher is better.
_SIGNS: dict[Standing | None, str] = {None: "", "better": ">", "worse": "<", "open": "~", "unknown": "?"}
_OPPOSITE = {">": "<", "<": ">"}
_NOTE = (
    "> the whole interval lies above floor and chance, < below one of them, ~ neither, ? most tokens are "
    "unknown, so that no score says anything."
)


def sign_of(stands: Standing | None, scale: Scale) -> str:
    """Return the sign of a score: `>`, `<`, `~` or `?`; empty if there is neither floor nor chance.

    Example:
        >>> sign_of("better", Scale("NASCA")), sign_of("better", Scale("Loss", higher_is_better=False))
        ('>', '<')
    """
    sign = _SIGNS[stands]
    return sign if scale.higher_is_better else _OPPOSITE.get(sign, sign)


def signs_note(scales: Iterable[Scale]) -> str:
    """Explain the signs of metrics with these scales."""
    lower = [scale.title for scale in scales if not scale.higher_is_better]
    return _NOTE + (
        f" Lower is better for {', '.join(lower)}: there < is below both, > above one of them."
        if lower
        else ""
    )
