"""The section of a model card that shows a report."""

from xalign.errors import ReportError
from xalign.escape import markdown
from xalign.languages import language_name
from xalign.results.report import AlignmentReport
from xalign.results.standing import standing_of

BEGIN, END = "<!-- xalign: begin -->", "<!-- xalign: end -->"


def card_section(report: AlignmentReport) -> str:
    """Return a Markdown section: each score beside its interval, its floor and chance.

    Example:
        >>> card_section(report).splitlines()[1]
        '## Cross-lingual alignment'
    """
    pairs, lines = report.pairs, []
    for metric in report.measured:
        for language in report.languages:
            stands = standing_of(report, metric, language)
            cells = [
                markdown(report.scale(metric).title),
                f"{markdown(language_name(language))} ({language})",
                _number(report.score(metric, language)),
                "–".join(map(_number, report.interval(metric, language))),
                _number(report.floor(metric, language)),
                _number(report.chance(metric, language)),
                {"better": "yes", None: "–"}.get(stands, "no"),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    counts = sorted({len(pairs[language]) for language in report.languages})
    return "\n".join(
        [
            BEGIN,
            "## Cross-lingual alignment",
            "",
            f"Measured with xalign on {' to '.join(map(str, counts))} parallel sentences per language, each "
            f"with its translation into {language_name(pairs.pivot)}. A score is the mean over layers, with "
            "its 95 % interval. The floor is what shared words alone give, without any model.",
            "",
            "| metric | language | score | 95 % | floor | chance | above both |",
            "|---|---|---|---|---|---|---|",
            *lines,
            END,
        ]
    )


def with_section(card: str, section: str) -> str:
    """Return a card with the section in the place of the one it has, or at its end.

    Args:
        card: The text of the card.
        section: What `card_section` returned.

    Raises:
        ReportError: The card has one of the marks of the section without the other, or several.

    Example:
        >>> with_section("# Model", "<!-- xalign: begin -->…<!-- xalign: end -->").splitlines()[0]
        '# Model'
    """
    in_order = card.find(BEGIN) <= card.find(END)
    if card.count(BEGIN) != card.count(END) or card.count(BEGIN) > 1 or not in_order:
        raise ReportError(
            f"README.md: the marks {BEGIN} and {END} must stand there once each, in this order; remove "
            "them, and the section is added anew"
        )
    if BEGIN not in card:
        return f"{card.rstrip()}\n\n{section}\n".lstrip()
    before, _, rest = card.partition(BEGIN)
    return f"{before}{section}{rest.partition(END)[2]}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
