"""`verdict`: what the scores of a report say, in words."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from xalign.languages import language_name
from xalign.results.history_entry import scale_in, unknown_in
from xalign.results.standing import Standing, bars_in, standing, standing_of

if TYPE_CHECKING:
    from xalign.results.report import AlignmentReport

MOST_NAMED = 6


def verdict(report: "AlignmentReport") -> list[str]:
    """Return a sentence per metric that says which languages are above their floor and chance.

    A language is above them if the whole 95 % interval of its score is. Metrics that have neither floor nor
    chance say nothing, and have no sentence.

    Args:
        report: The report.

    Example:
        >>> len(verdict(report)) == len(report.measured)
        True
    """
    return [
        sentence
        for metric in report.measured
        if (
            sentence := verdict_of(
                report.scale(metric).title,
                {code: standing_of(report, metric, code) for code in report.languages},
                "floor" if report.floor(metric) is not None else "chance",
                higher_is_better=report.scale(metric).higher_is_better,
            )
        )
    ]


def verdict_of(
    title: str, standings: Mapping[str, Standing | None], bar: str, *, higher_is_better: bool = True
) -> str | None:
    """Return one sentence: how many languages are clearly better than their bar, and which.

    Args:
        title: The title of the metric.
        standings: Language -> where its score stands.
        bar: The name of the bar, for the sentence: `"floor"` or `"chance"`.
        higher_is_better: Whether better is above the bar, or below it.

    Example:
        >>> verdict_of("NASCA", {"deu_Latn": "open", "spa_Latn": "worse"}, "floor")
        'NASCA: no language is above its floor.'
        >>> verdict_of("NASCA", {"deu_Latn": "better", "spa_Latn": "worse"}, "floor")
        'NASCA: 1 of 2 languages is above its floor: German.'
    """
    known = {code: stands for code, stands in standings.items() if stands is not None}
    if not known:
        return None
    side = "above" if higher_is_better else "below"
    better = [code for code, stands in known.items() if stands == "better"]
    one, many = (f"its {bar}", f"their {bar}s") if bar == "floor" else (bar, bar)
    if not better:
        return f"{title}: no language is {side} {one}."
    if len(known) == 1:
        return f"{title}: {language_name(better[0])} is {side} {one}."
    if len(better) == len(known):
        return f"{title}: all {len(better)} languages are {side} {many}."
    are, own = ("is", one) if len(better) == 1 else ("are", many)
    return f"{title}: {len(better)} of {len(known)} languages {are} {side} {own}: {_named(better)}."


def verdict_of_entry(entry: dict[str, Any]) -> list[str]:
    """Return the sentences of `verdict` for each row of an entry of a history.

    Args:
        entry: A line of a history.
    """
    found = []
    for row, numbers in entry["metrics"].items():
        scale, languages = scale_in(entry, row), numbers["languages"]
        standings = {
            code: standing((one["low"][-1], one["high"][-1]), bars_in(one), scale, unknown_in(entry, code))
            for code, one in languages.items()
        }
        bar = "floor" if any(one["floor"] is not None for one in languages.values()) else "chance"
        found.append(verdict_of(scale.title, standings, bar, higher_is_better=scale.higher_is_better))
    return [sentence for sentence in found if sentence]


def _named(codes: Sequence[str]) -> str:
    names = [language_name(code) for code in codes[:MOST_NAMED]]
    more = len(codes) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")
