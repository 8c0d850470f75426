"""`write_correlation_page`: correlations of alignment with downstream scores, with their scatters."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from xalign.errors import ArgumentError, ReportError
from xalign.files import html_file
from xalign.storage import writable_folder, write_whole
from xalign.views.scatter import Panel

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 340, 250, 46, 34
_STYLE = """
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: 1rem; }
.panels figure { margin: 0; break-inside: avoid; }
.panels figcaption { font-size: 13px; }
.panels svg { width: 100%; height: auto; }
"""
_RESAMPLED = {"both": "models and languages", "models": "models", "languages": "languages"}


def write_correlation_page(
    path: str | Path,
    rows: Sequence[Mapping[str, Any]],
    panels: Sequence[Panel],
    left_out: Sequence[tuple[str, str, str]] = (),
    resample: str = "both",
) -> Path:
    """Write a page about correlations: one file that needs neither network nor server.

    Args:
        path: The file to write, which must end in `.html`; replaced where it exists.
        rows: Per benchmark and predictor: `benchmark`, `predictor`, `points`, `models`, `languages`, and as
            text `pearson`, `spearman` and `partial`.
        panels: A scatter of each.
        left_out: What was not used, the reason and the file.
        resample: What the intervals resample.

    Returns:
        The path of the file.

    Raises:
        ArgumentError: Another ending, or no row.
        ReportError: The file cannot be written.

    Example:
        >>> row = {"benchmark": "xnli", "predictor": "nasca", "points": 4, "models": 1, "languages": 4}
        >>> row |= {"pearson": "+0.90", "spearman": "+0.80", "partial": ""}
        >>> points = [(0.1, 0.3, "a model", "deu_Latn"), (0.4, 0.8, "a model", "fra_Latn")]
        >>> write_correlation_page("found.html", [row], [Panel("xnli", "nasca", "xnli", points)]).name
        'found.html'
    """
    path = html_file("path", path)
    if not rows:
        raise ArgumentError("rows is empty; there is nothing to show")
    writable_folder(path.parent, ReportError)
    style = files("xalign.views").joinpath("page.css").read_text("utf-8") + _STYLE
    title = "Does alignment go with downstream scores?"
    languages = list(dict.fromkeys(point[3] for panel in panels for point in panel.points))
    parts = [
        f'<header><h1>{title}</h1><p class="soft">{escape(_lead(rows, resample))}</p></header><main>',
        _table(rows),
        f'<section><h2>Points</h2><div class="panels">{"".join(_panel(one, languages) for one in panels)}'
        "</div></section>",
        _left_out(left_out),
        "</main>",
    ]
    head = '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    head += '<meta name="viewport" content="width=device-width, initial-scale=1">'
    text = f"{head}<title>{title}</title><style>{style}</style></head><body>{''.join(parts)}</body></html>"
    write_whole(path, text.encode("utf-8", "backslashreplace"), ReportError)
    return path


def _lead(rows: Sequence[Mapping[str, Any]], resample: str) -> str:
    most = max(rows, key=lambda row: row["points"])
    return (
        f"Up to {most['points']} points of {most['models']} model(s) and {most['languages']} language(s). "
        f"95 % intervals resample {_RESAMPLED[resample]}. Partial correlations hold the logarithm of the "
        "data size fixed. A correlation is no proof of a cause."
    )


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    names = ("benchmark", "predictor", "points", "pearson", "spearman", "partial")
    heads = ("benchmark", "against", "points", "Pearson", "Spearman", "partial")
    lines = []
    for row in rows:
        cells = "".join(f"<td>{escape(str(row[name]))}</td>" for name in names[1:])
        lines.append(f'<tr><th scope="row">{escape(str(row["benchmark"]))}</th>{cells}</tr>')
    head = "".join(f'<th scope="col">{one}</th>' for one in heads)
    return (
        f'<section><h2>Correlations</h2><div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div></section>"
    )


def _panel(panel: Panel, languages: Sequence[str]) -> str:
    """Draw a scatter; each point says what it is when the pointer rests on it."""
    (x_low, x_high), (y_low, y_high) = (
        _ends([float(point[side]) for point in panel.points]) for side in (0, 1)
    )

    def place(x: float, y: float) -> tuple[float, float]:
        across = _LEFT + (x - x_low) / (x_high - x_low) * (_WIDTH - _LEFT - 12)
        return across, _HEIGHT - _BOTTOM - (y - y_low) / (y_high - y_low) * (_HEIGHT - _BOTTOM - 12)

    marks = []
    for x, y, model, language in panel.points:
        across, down = place(x, y)
        hue = round(215 + 360 * languages.index(language) / max(len(languages), 1)) % 360
        said = escape(f"{model}, {language}: {x:.3g}, {y:.3g}")
        marks.append(
            f'<circle cx="{across:.1f}" cy="{down:.1f}" r="4" fill="hsl({hue} 62% 52%)" fill-opacity=".8">'
            f"<title>{said}</title></circle>"
        )
    axes = "".join(
        f'<line class="axis" x1="{a[0]:.1f}" y1="{a[1]:.1f}" x2="{b[0]:.1f}" y2="{b[1]:.1f}"/>'
        for a, b in (
            (place(x_low, y_low), place(x_high, y_low)),
            (place(x_low, y_low), place(x_low, y_high)),
        )
    )
    words = "".join(
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="11">{escape(text)}</text>'
        for x, y, anchor, text in (
            (_LEFT, _HEIGHT - 18, "start", f"{x_low:.3g}"),
            (_WIDTH - 12, _HEIGHT - 18, "end", f"{x_high:.3g}"),
            ((_LEFT + _WIDTH) / 2, _HEIGHT - 4, "middle", panel.x),
            (_LEFT - 4, _HEIGHT - _BOTTOM, "end", f"{y_low:.3g}"),
            (_LEFT - 4, 18, "end", f"{y_high:.3g}"),
        )
    )
    label = escape(f"{panel.y} against {panel.x}, {len(panel.points)} points")
    return (
        f'<figure><figcaption>{escape(panel.title)}</figcaption><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'role="img" aria-label="{label}">{axes}{words}{"".join(marks)}</svg></figure>'
    )


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of an axis, a little beyond the values."""
    low, high = min(values), max(values)
    room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    room = max(room, math.ulp(max(abs(low), abs(high))) * 16)
    return low - room, high + room


def _left_out(left_out: Sequence[tuple[str, str, str]]) -> str:
    if not left_out:
        return ""
    lines = "".join(
        f'<tr><th scope="row">{escape(what)}</th><td>{escape(reason)}</td><td>{escape(source)}</td></tr>'
        for what, reason, source in left_out
    )
    return (
        f'<section><h2>Left out</h2><p class="soft">Nothing is guessed: these were not used.</p>'
        f'<div class="wide"><table><tbody>{lines}</tbody></table></div></section>'
    )
