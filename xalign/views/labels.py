"""The labels of axes and colour bars of a metric."""

from xalign.escape import figure_text
from xalign.metrics.scale import Scale
from xalign.views.digits import decimals_of


def titled(scale: Scale, what: str = "", between: str = " ") -> str:
    """Return the label of an axis: the title of the metric, what is shown of it, and its unit in brackets.

    Example:
        >>> titled(Scale("NASCA", unit="share of pairs"), ", mean of layers")
        'NASCA, mean of layers [share of pairs]'
    """
    unit = f"{between}[{figure_text(scale.unit)}]" if scale.unit else ""
    return f"{figure_text(scale.title)}{what}{unit}"


def ranged(scale: Scale, low: float, high: float) -> str:
    """Return the label of a colour bar: the unit, and the range of values that the colours span.

    Example:
        >>> ranged(Scale("NASCA", unit="share of pairs", bounds=(0.0, 1.0)), 0.02, 0.31).splitlines()
        ['share of pairs', 'colours from 0.02 to 0.31']
    """
    decimals = max(decimals_of(scale, [low, high]) - 1, 0)
    ends = f"colours from {low:.{decimals}f} to {high:.{decimals}f}"
    return "\n".join(part for part in (figure_text(scale.unit), ends) if part)
