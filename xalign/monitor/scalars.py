"""What a run's log gets of a report: plain floats under plain keys."""

from collections.abc import Sequence

from xalign.results.report import AlignmentReport

MOST_LANGUAGES = 30


def named(key: str, name: str) -> str:
    """A key where several measurements share a log.

    Example:
        >>> named("nasca", "news"), named("nasca", "")
        ('news_nasca', 'nasca')
    """
    return f"{name}_{key}" if name else key


def scalars(report: AlignmentReport) -> dict[str, float]:
    """A report's pooled values, per metric of it.

    `nasca`, the mean over languages of the layer mean; `nasca_deu_Latn` …, one per language; `nasca_worst`,
    the smallest of them; `nasca_gap`, by how much the mean lies above the mean lexical floor; and
    `nasca_best_layer`, the place, from 0, of the layer whose mean over languages is largest.

    Args:
        report: The report.

    Example:
        >>> sorted(scalars(report))[:2]
        ['nasca', 'nasca_best_layer']
    """
    values = report.summary()
    for metric in report.measured:
        values[f"{metric}_gap"] = values[metric] - report.floor(metric)
        values[f"{metric}_best_layer"] = float(report.mean_by_layer(metric).argmax())
    return values


def scalar_keys(
    metrics: Sequence[str], languages: Sequence[str], name: str = "", *, over_base: bool = False
) -> list[str]:
    """The keys of which more is better: those of `scalars`, and with an adapter `nasca_over_base`.

    Example:
        >>> scalar_keys(["nasca"], ["deu_Latn"])
        ['nasca', 'nasca_worst', 'nasca_gap', 'nasca_deu_Latn']
    """
    parts = ["", "_worst", "_gap", *(["_over_base"] if over_base else [])]
    parts += [f"_{language}" for language in languages]
    return [named(f"{metric}{part}", name) for metric in metrics for part in parts]


def pooled_only(values: dict[str, float], languages: Sequence[str]) -> dict[str, float]:
    """The values without those per language where there are more than 30 of them: too many to look at.

    Example:
        >>> pooled_only({"nasca": 0.5, "nasca_deu_Latn": 0.5}, ["deu_Latn"])
        {'nasca': 0.5, 'nasca_deu_Latn': 0.5}
    """
    if len(languages) <= MOST_LANGUAGES:
        return values
    return {key: value for key, value in values.items() if not key.endswith(tuple(languages))}
