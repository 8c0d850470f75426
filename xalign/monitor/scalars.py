"""The values of a report for the log of a run: plain floats under plain keys."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, cast, get_args

from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.measurement.run import Metrics
from xalign.metrics import METRICS
from xalign.metrics.metric import resolve_metrics
from xalign.results.report import AlignmentReport

LogScalars = Literal["few", "all"]
MOST_LANGUAGES = 30
# An evaluation's own values, which a metric of the user's own must not replace.
EVALUATION_KEYS = (
    *("loss", "runtime", "samples_per_second", "steps_per_second", "model_preparation_time"),
    *("alignment_seconds", "alignment_share"),
)


# Folders and files that a run has itself, beside those of named callbacks.
_RESERVED = re.compile(r"(step|earlier|checkpoint)[-_].*|history|reports?|best|keep_best|_?alignment", re.I)
LONGEST_NAME = 64


def checked_name(name: str) -> str:
    """Return a name that can stand in keys and paths, or raise an error.

    Args:
        name: The name; empty for none.

    Raises:
        ArgumentError: Anything but letters, digits, - and _, more than 64 of them, or a name of a folder or
            file that every run has.
        ArgumentTypeError: It is not text.

    Example:
        >>> checked_name("news-2024")
        'news-2024'
    """
    if not isinstance(name, str):
        raise ArgumentTypeError(f"name={name!r:.60} must be text, like 'news'; leave it out for none")
    if name and not name.replace("-", "").replace("_", "").isalnum():
        raise ArgumentError(f"name={name!r:.60} must be made of letters, digits, - and _, as a part of keys")
    if len(name.encode()) > LONGEST_NAME:
        raise ArgumentError(f"name={name!r:.60} is longer than {LONGEST_NAME} bytes; give a shorter one")
    if _RESERVED.fullmatch(name):
        raise ArgumentError(
            f"name={name!r} is the name of a folder or file that xalign or the trainer makes itself; give "
            f"another one, like {'my-' + name!r}"
        )
    return name


def named(key: str, name: str) -> str:
    """Put the name of a callback or monitor in front of a key, in case several share a log.

    Example:
        >>> named("nasca", "news"), named("nasca", "")
        ('news_nasca', 'nasca')
    """
    return f"{name}_{key}" if name else key


def scalars(report: AlignmentReport) -> dict[str, float]:
    """Return a report's scores as flat numbers, for a log.

    These are, shown for `nasca`:

    - `nasca`: the mean over languages of the mean over layers;
    - `nasca_deu_Latn` and so on: one per language;
    - `nasca_worst`: the worst of them;
    - `nasca_gap`: by how much the mean lies above the mean lexical floor, where the metric has a floor;
    - `nasca_best_layer`: the index in `report.sites(metric)` of the layer whose mean over languages is best;
      for hidden states, 0 is the embedding.

    Args:
        report: The report.

    Example:
        >>> sorted(scalars(report))[:2]
        ['nasca', 'nasca_best_layer']
    """
    values = report.summary()
    for metric in report.measured:
        floor = report.floor(metric)
        if floor is not None:
            values[f"{metric}_gap"] = values[metric] - floor
        place = report.scale(metric).best(report.mean_by_layer(metric).tolist())
        values[f"{metric}_best_layer"] = float(place)
    return values


def over_base(report: AlignmentReport, base: AlignmentReport) -> dict[str, float]:
    """Return `nasca_over_base`, per metric: a report's score minus that of the model without its adapter.

    Example:
        >>> over_base(report, report)
        {'nasca_over_base': 0.0}
    """
    return {f"{metric}_over_base": report.score(metric) - base.score(metric) for metric in report.measured}


def scalar_keys(
    metrics: Metrics, languages: Sequence[str], name: str = "", *, over_base: bool = False
) -> dict[str, bool]:
    """Return the keys by which a best model can be selected, and whether a higher value of each is better.

    These are the keys of `scalars` whose values can be better or worse, and `nasca_over_base` with an
    adapter.

    Args:
        metrics: The metrics.
        languages: The languages without the pivot.
        name: Put in front of each key.
        over_base: Whether the model has an adapter.

    Raises:
        ArgumentError: Two metrics would share a key, or a key would replace a value of the evaluation itself.

    Example:
        >>> scalar_keys(["nasca"], ["deu_Latn"])
        {'nasca': True, 'nasca_worst': True, 'nasca_gap': True, 'nasca_deu_Latn': True}
    """
    found: list[tuple[str, bool]] = []
    places: list[str] = []
    for metric in resolve_metrics(metrics, METRICS):
        parts = ["", "_worst", *(["_gap"] if metric.has_floor else [])]
        parts += ["_over_base"] if over_base else []
        parts += [f"_{language}" for language in languages]
        found += [(named(f"{metric.name}{part}", name), metric.higher_is_better) for part in parts]
        places.append(named(f"{metric.name}_best_layer", name))
    counts = Counter([*(key for key, _ in found), *places, *EVALUATION_KEYS])
    taken = [key for key, count in counts.items() if count > 1]
    if taken:
        raise ArgumentError(
            f"metrics: the key {taken[0]!r} is taken already, by another metric or by the evaluation itself; "
            "give your metric another name"
        )
    return dict(found)


def checked_log_scalars(given: str) -> LogScalars:
    """Return which scalars are logged, or raise an error.

    Raises:
        ArgumentError: Neither `"few"` nor `"all"`.
    """
    if given not in get_args(LogScalars):
        raise ArgumentError(
            f"log_scalars={given!r:.60} must be 'few' (the mean, the worst and each language) or 'all'"
        )
    return cast(LogScalars, given)


def few_of(values: Mapping[str, float], report: AlignmentReport, name: str = "") -> dict[str, float]:
    """Return the values that are logged by default: the mean, the worst and each language.

    Args:
        values: What `scalars` gave, under keys that begin with `name`.
        report: The report that they are of.
        name: The name in front of each key.

    Example:
        >>> sorted(few_of(scalars(report), report))[:1]
        ['nasca']
        >>> "nasca_best_layer" in few_of(scalars(report), report)
        False
    """
    few = {named(key, name) for key in report.summary()}
    return {key: value for key, value in values.items() if key in few}


def pooled_only(
    values: Mapping[str, float], languages: Sequence[str], keep: Collection[str] = ()
) -> dict[str, float]:
    """Leave out the values per language where there are more than 30 languages: too many to look at.

    Args:
        values: Key -> value.
        languages: The languages that keys end with.
        keep: Keys that stay in any case.

    Example:
        >>> pooled_only({"nasca": 0.5, "nasca_deu_Latn": 0.5}, ["deu_Latn"])
        {'nasca': 0.5, 'nasca_deu_Latn': 0.5}
    """
    if len(languages) <= MOST_LANGUAGES:
        return dict(values)
    ends = tuple(languages)
    return {key: value for key, value in values.items() if key in keep or not key.endswith(ends)}
