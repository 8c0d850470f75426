"""Best models by alignment: the trainer's own selection, checked before the run."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from transformers.training_args import TrainingArguments

from xalign.errors import ArgumentError, XAlignError
from xalign.metrics import METRICS
from xalign.monitor.scalars import named
from xalign.pairs.languages import match_language
from xalign.renamed import renamed


def check_selection(
    args: TrainingArguments,
    keys: Mapping[str, bool],
    known: Sequence[str],
    why: str,
    languages: Sequence[str] = (),
) -> str | None:
    """Refuse a best-model selection by a value of alignment that no evaluation will have.

    The trainer looks for the exact key, and treats lower values as better if `greater_is_better` is None. So
    both are set in `args`: the key with the language's code, and the direction of the metric.

    Args:
        args: The trainer's arguments.
        keys: The keys that each evaluation will have, and whether a higher value of each is better.
        known: Beginnings of keys that can only be meant for alignment.
        why: What the keys depend on, for the message.
        languages: The languages that keys end with.

    Returns:
        The key as it stands in an evaluation, with `eval_`; None where the trainer selects by something else.

    Raises:
        ArgumentError: `metric_for_best_model` looks like one of the keys and is not one of them, or
            `greater_is_better` would keep the worst model.
    """
    given = (args.metric_for_best_model or "").removeprefix("eval_")
    key = exact_key(given, keys, languages)
    if key in keys:
        _check_direction(args, keys[key])
        if key != given:
            args.metric_for_best_model = f"eval_{key}"
        return f"eval_{key}"
    name = given.replace("/", "_").removeprefix("eval_")  # as trackers show it
    is_meant = name in keys or any(name == start or name.startswith(f"{start}_") for start in known)
    if is_meant or difflib.get_close_matches(name.split("_")[0], known, cutoff=0.8):
        raise ArgumentError(
            f"metric_for_best_model={args.metric_for_best_model!r} is no value of an evaluation to select "
            f"by; {why} there are: {', '.join(keys) or 'none'}"
        )
    return None


def exact_key(given: str, keys: Iterable[str], languages: Sequence[str]) -> str:
    """Return the key that is meant if its language is spelled in another way, or the key as given.

    Args:
        given: A key, without `eval_`, such as `nasca_de` or `nasca_deu-Latn`.
        keys: The keys that there are.
        languages: The languages that keys end with.

    Example:
        >>> exact_key("nasca_de", ["nasca", "nasca_deu_Latn"], ["deu_Latn"])
        'nasca_deu_Latn'
    """
    if given in keys:
        return given
    for key in keys:
        language = next((one for one in languages if key.endswith(f"_{one}")), None)
        start = None if language is None else key.removesuffix(language)
        if start is None or not given.startswith(start):
            continue
        if _is_spelled(given.removeprefix(start), language, languages):
            return key
    return given


def _is_spelled(given: str, language: str | None, languages: Sequence[str]) -> bool:
    try:
        return match_language(given, languages) == language
    except XAlignError:
        return False


def distinctive_names(name: str = "", own: Sequence[str] = ()) -> list[str]:
    """Return the beginnings of keys that can only belong to alignment, and to no other evaluation.

    These are the acronyms among the names of metrics. A word such as "retrieval" may be the key of another
    evaluation, whose selection must not be checked here.

    Args:
        name: The name of the callback.
        own: Names of metrics of the user's own.

    Example:
        >>> distinctive_names("news")
        ['news_nasca', 'news_navca', 'news_mexa', 'news_alignment']
    """
    acronyms = [metric.name for metric in METRICS.values() if metric.title.isupper()]
    return [named(key, name) for key in (*acronyms, *own, "alignment")]


def _check_direction(args: TrainingArguments, higher_is_better: bool) -> None:
    if args.greater_is_better is None:
        args.greater_is_better = higher_is_better
    if args.greater_is_better == higher_is_better:
        return
    raise ArgumentError(
        f"greater_is_better={args.greater_is_better} with "
        f"metric_for_best_model={args.metric_for_best_model!r} would keep the model that is aligned worst; "
        f"pass greater_is_better={higher_is_better}"
    )


def __getattr__(name: str) -> Any:
    return renamed(__name__, name)
