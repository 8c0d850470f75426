"""The numbers behind the demo's tables and sentences, as `xalign demo --json` prints them."""

from collections.abc import Mapping, Sequence
from typing import Any

from xalign.results.report import AlignmentReport
from xalign.views.stages import change_of_stages

Figures = dict[str, Any]
"""What JSON can hold: numbers, texts, lists, and dicts of them."""


def scores_in(report: AlignmentReport, metric: str) -> Figures:
    """Return each language's score with its interval, floor and chance, and those of the mean.

    Example:
        >>> report = measure(model, tokenizer, pairs, ["nasca"])
        >>> sorted(scores_in(report, "nasca")["mean"])
        ['floor', 'interval', 'score']
    """
    found = {
        code: {**_score(report, metric, code), "chance": report.chance(metric, code)}
        for code in report.languages
    }
    return {**found, "mean": _score(report, metric, None)}


def _score(report: AlignmentReport, metric: str, language: str | None) -> Figures:
    return {
        "score": report.score(metric, language),
        "interval": list(report.interval(metric, language)),
        "floor": report.floor(metric, language),
    }


def run_figures(reports: Sequence[AlignmentReport], metric: str) -> Figures:
    """Return what the first and the last report of a run say of a metric.

    Args:
        reports: The run's reports, in the order of steps.
        metric: A metric of theirs.
    """
    first, last = (
        {"step": report.step, metric: scores_in(report, metric)} for report in (reports[0], reports[-1])
    )
    return {"first": first, "last": last, "worst": reports[-1].worst(metric)[0]}


def stages_figures(stages: Mapping[str, AlignmentReport]) -> Figures:
    """Return the scores of every stage, and the change from the first stage to the last with its interval.

    Args:
        stages: Name -> report, in order, at least two, of the same sentences.
    """
    *_, last = stages.values()
    return {
        "stages": {
            name: {metric: scores_in(report, metric) for metric in report.measured}
            for name, report in stages.items()
        },
        "change": {
            metric: {
                language or "mean": _change(stages, metric, language) for language in (*last.languages, None)
            }
            for metric in last.measured
        },
    }


def _change(stages: Mapping[str, AlignmentReport], metric: str, language: str | None) -> Figures:
    difference, interval = change_of_stages(stages, metric, language)
    return {"difference": difference} | ({} if language is None else {"interval": list(interval)})
