"""Lines that can be told apart: by everybody's eyes, in print, and where several lie on each other."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from xalign.languages import language_name
from xalign.results.unknown import with_unknown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which people with any colour vision tell apart, without black (for chance and
# references) and yellow (too light on paper).
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DASHES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (3, 1.5, 1, 1.5)), (0, (1.5, 1)))
_TOGETHER = 0.012  # of the height of the axes: nearer lines are drawn on each other
_DOT = 3.0


def named_language(code: str, unknown: float = 0.0, between: str = " ") -> str:
    """Return a language's name beside its code, with the share of its tokens that is unknown, if most are.

    Example:
        >>> named_language("deu_Latn"), named_language("xyz_Latn")
        ('German deu_Latn', 'xyz_Latn')
    """
    name = language_name(code)
    return with_unknown(code if name == code else f"{name}{between}{code}", unknown, "\n")


def style_of(number: int) -> dict[str, Any]:
    """Return colour and dashes of the line with a number, from 0: six colours, then six dashed, and so on.

    Example:
        >>> style_of(0)["color"], style_of(6)["color"]
        ('#0072B2', '#0072B2')
        >>> style_of(0)["linestyle"] == style_of(6)["linestyle"]
        False
    """
    dashes = _DASHES[number // len(OKABE_ITO) % len(_DASHES)]
    return {"color": OKABE_ITO[number % len(OKABE_ITO)], "linestyle": dashes}


def coinciding(levels: Sequence[float], span: float) -> list[list[int]]:
    """Return the indices of levels in groups that would be drawn over each other, from the lowest.

    Args:
        levels: Heights of lines.
        span: The range of values that the height of the axes covers.

    Example:
        >>> coinciding([0.3, 0.1, 0.301], 1.0)
        [[1], [0, 2]]
    """
    groups: list[list[int]] = []
    for place in sorted(range(len(levels)), key=lambda one: (levels[one], one)):
        if groups and levels[place] - levels[groups[-1][0]] <= _TOGETHER * span:
            groups[-1].append(place)
        else:
            groups.append([place])
    return groups


def draw_floors(axes: "Axes", floors: Mapping[str, float], colours: Mapping[str, str]) -> None:
    """Draw a dotted line per floor, and its number at the right edge.

    Where several coincide, their dots alternate so that each colour is seen, and one number stands for all.
    Call this after the limits of the axes are set.

    Args:
        axes: The axes.
        floors: Name -> height.
        colours: Name -> colour.
    """
    low, high = axes.get_ylim()
    names, levels = list(floors), list(floors.values())
    last = float("-inf")
    for group in coinciding(levels, high - low):
        for turn, place in enumerate(group):
            dots = (turn * 2 * _DOT, (_DOT, (2 * len(group) - 1) * _DOT))
            style: Any = {"color": colours[names[place]], "linestyle": dots, "linewidth": 1.4}
            axes.axhline(levels[place], **style)
        height = levels[group[0]]
        if height - last < 0.045 * (high - low):
            continue  # its number would stand on the one below
        last = height
        colour = colours[names[group[0]]] if len(group) == 1 else "#444444"
        count = "" if len(group) == 1 else f" ×{len(group)}"
        ends = dict.fromkeys(f"{levels[place]:.2f}".removeprefix("0") for place in (group[0], group[-1]))
        text = "–".join(ends) + count
        where: Any = axes.get_yaxis_transform()
        axes.text(1.01, height, text, transform=where, fontsize=6.5, va="center", color=colour)
