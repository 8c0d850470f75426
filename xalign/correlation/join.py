"""`join`: alignment and downstream scores of the same model, step and language."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xalign.correlation.aligned import Aligned
from xalign.correlation.outcome import LeftOut, Outcome
from xalign.errors import ArgumentError
from xalign.languages import match_language

DATA_SIZE = "data_size"


@dataclass(frozen=True)
class Point:
    """One point of a scatter.

    Attributes:
        model: The model, with the step of a checkpoint.
        language: The language.
        benchmark: The benchmark.
        score: The downstream score.
        values: Predictor -> value.
        data_size: How much data the model has seen of the language; None where it is not known.
    """

    model: str
    language: str
    benchmark: str
    score: float
    values: Mapping[str, float]
    data_size: float | None = None


def join(
    aligned: Sequence[Aligned], outcomes: Sequence[Outcome], data_sizes: Mapping[str, float] | None = None
) -> tuple[list[Point], list[LeftOut]]:
    """Join what belongs to one model, step and language.

    A score that names no model belongs to the only one there is; one that names no step belongs to the only
    one of its model. Scores of the pivot language, which is aligned with nothing, are left out.

    Args:
        aligned: What reports say.
        outcomes: Downstream scores.
        data_sizes: Language, in FLORES form -> how much data of it the models have seen.

    Returns:
        The points, and the scores that belong to none, with the reason.

    Raises:
        ArgumentError: Two scores of one model, language and benchmark.
    """
    points: dict[tuple[str, str, str], tuple[Point, Outcome]] = {}
    left_out = []
    for outcome in outcomes:
        found = _match(aligned, outcome)
        if isinstance(found, str):
            left_out.append(LeftOut(outcome.task, found, outcome.source))
            continue
        besides = {name: value for name, value in outcome.besides.items() if name != DATA_SIZE}
        size = outcome.besides.get(DATA_SIZE, (data_sizes or {}).get(found.language))
        model = _label(found)
        key = (model, found.language, outcome.benchmark)
        if key in points:
            other = points[key][1]
            raise ArgumentError(
                f"{outcome.task} of {outcome.source} and {other.task} of {other.source} are both "
                f"{outcome.benchmark} of {model} in {found.language}; keep one of them"
            )
        values = {**found.values, **besides}
        points[key] = (Point(model, found.language, outcome.benchmark, outcome.value, values, size), outcome)
    return [point for point, _ in points.values()], left_out


def _label(found: Aligned) -> str:
    name = found.names[-1] if found.names else "the model"
    return name if found.step is None else f"{name} at step {found.step}"


def _match(aligned: Sequence[Aligned], outcome: Outcome) -> Aligned | str:
    """Return what a score belongs to, or why it belongs to nothing."""
    model, step = outcome.identity.model, outcome.identity.step
    known = dict.fromkeys(name for one in aligned for name in one.names[:1])
    if model is not None:
        there = [one for one in aligned if model in one.names]
        if not there:
            return f"no report is of {model}; they are of {', '.join(known) or 'models without a name'}"
    else:
        there = list(aligned)
        if len({one.names for one in there}) > 1:
            return f"it names no model, and there are several: {', '.join(known)}"
    steps = {one.step for one in there}
    if step is not None and steps != {None}:
        there = [one for one in there if one.step == step]
        if not there:
            return f"step {step} was not measured; {_listed(steps)} were"
    elif step is None and len(steps) > 1:
        return f"it names no step, and there are several: {_listed(steps)}"
    language = match_language(outcome.language, {one.language: None for one in there})
    own = [one for one in there if one.language == language]
    if not own:
        return f"{outcome.language} was not measured"
    if len(own) > 1:
        return f"{len(own)} reports are of {_label(own[0])} in {language}; give one of them"
    return own[0]


def _listed(steps: set[int | None]) -> str:
    known = sorted(one for one in steps if one is not None)
    return ", ".join(map(str, known[:8])) + (" …" if len(known) > 8 else "")
