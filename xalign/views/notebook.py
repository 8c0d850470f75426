"""What a notebook shows of a report: a small table of HTML."""

from html import escape

from xalign.languages import named_with_code
from xalign.results.report import AlignmentReport
from xalign.results.standing import standing_of
from xalign.views.digits import decimals_of
from xalign.views.signs import sign_of, signs_note
from xalign.views.verdict import verdict

HEADERS = ("language", "metric", "score", "95 %", "", "floor", "chance")
_RIGHT, _LEFT = "text-align:right;font-variant-numeric:tabular-nums", "text-align:left"


def report_html(report: AlignmentReport) -> str:
    """Return a report as a table of HTML, each score beside its interval, its floor and chance.

    Values whose whole interval is better than floor and chance are bold. It takes the colours of the page it
    is in, so that it can be read in dark notebooks.

    Example:
        >>> "German (deu_Latn)" in report_html(report)
        True
    """
    step = "" if report.step is None else f" at step {report.step}"
    rows = [_row(report, metric, language) for language in report.languages for metric in report.measured]
    head = "".join(
        f'<th style="{_LEFT if not n or n == 1 else _RIGHT}">{name}</th>' for n, name in enumerate(HEADERS)
    )
    said = "".join(f"<p>{escape(sentence)}</p>" for sentence in verdict(report))
    return (
        f"<div><p><b>Alignment with {escape(named_with_code(report.pairs.pivot))}{step}</b></p>{said}"
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
        f"<p><small>{escape(signs_note(map(report.scale, report.measured)))}</small></p></div>"
    )


def _row(report: AlignmentReport, metric: str, language: str) -> str:
    stands, score = standing_of(report, metric, language), report.score(metric, language)
    numbers = [score, *report.interval(metric, language), report.floor(metric, language)]
    numbers.append(report.chance(metric, language))
    decimals = decimals_of(report.scale(metric), [one for one in numbers if one is not None])
    shown, low, high, floor, chance = ("–" if one is None else f"{one:.{decimals}f}" for one in numbers)
    shown = f"<b>{shown}</b>" if stands == "better" else shown
    name = escape(named_with_code(language))
    right = [shown, f"{low} – {high}", escape(sign_of(stands, report.scale(metric))), floor, chance]
    cells = "".join(f'<td style="{_RIGHT}">{cell}</td>' for cell in right)
    return f'<tr><td style="{_LEFT}">{name}</td><td style="{_LEFT}">{escape(metric)}</td>{cells}</tr>'
