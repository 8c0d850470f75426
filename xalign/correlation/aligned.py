"""`Aligned`: what a report, or a step of a run, says about a language."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xalign.correlation.outcome import Identity
from xalign.errors import ArgumentError
from xalign.pairs.parallel import ParallelPairs
from xalign.results.history import History, find_history
from xalign.results.history_entry import Row, scale_in
from xalign.results.report import AlignmentReport
from xalign.results.run_folder import PRIVATE, PUBLIC
from xalign.results.saved import REPORT
from xalign.results.scores import Over, check_over

Source = AlignmentReport | History | str | Path
FLOOR, SHARED = "lexical floor", "shared words"


@dataclass(frozen=True)
class Aligned:
    """One language at one step of one model.

    Attributes:
        names: What the model may be called in results: its own name, and that of the run's folder.
        step: The training step; None if there is none.
        language: The language, in FLORES form.
        values: Predictor -> value: the alignment metrics, and the other predictors.
    """

    names: tuple[str, ...]
    step: int | None
    language: str
    values: Mapping[str, float]


def read_aligned(sources: Sequence[Source], over: Over = "mean") -> list[Aligned]:
    """Read what reports and runs say about each language.

    Args:
        sources: Reports and histories, or their folders; a folder that holds several is searched.
        over: `"mean"` of the layers, or `"max"`: the best layer.

    Raises:
        ArgumentError: A source that holds neither a report nor a history, or no source.
        ReportError: A broken file.
    """
    check_over(over)
    found = [one for source in sources for one in _of_source(source, over)]
    if not found:
        raise ArgumentError("no report and no run was given; name at least one")
    return found


def _of_source(source: Source, over: Over) -> Iterator[Aligned]:
    if isinstance(source, AlignmentReport):
        yield from _of_report(source, over, None)
    elif isinstance(source, History):
        yield from _of_history(source, over)
    else:
        yield from _of_path(Path(source), over)


def _of_path(path: Path, over: Over) -> Iterator[Aligned]:
    if find_history(path) is not None:
        yield from _of_history(History.load(path), over)
        return
    if (path / REPORT).is_file():
        yield from _of_report(AlignmentReport.load(path), over, path.name)
        return
    inside = [one for one in sorted(path.iterdir()) if one.is_dir()] if path.is_dir() else []
    held = [one for one in inside if find_history(one) is not None or (one / REPORT).is_file()]
    if not held:
        raise ArgumentError(
            f"{str(path)!r} holds no report and no run, nor do the folders in it; give the folder of a "
            "report, of a run that was measured, or one that holds several of them"
        )
    for one in held:
        yield from _of_path(one, over)


def _of_report(report: AlignmentReport, over: Over, folder: str | None) -> Iterator[Aligned]:
    identity = Identity.of(str(report.provenance.get("model") or "") or None)
    step = report.step if report.step is not None else identity.step
    names = tuple(dict.fromkeys(name for name in (identity.model, folder) if name))
    for language in report.languages:
        values = {metric: report.score(metric, language, over) for metric in report.measured}
        floors = (report.floor(metric, language) for metric in report.measured)
        floor = next((one for one in floors if one is not None), None)
        if floor is not None:
            values[FLOOR] = floor
        shared = shared_words(report.pairs, language)
        if shared is not None:
            values[SHARED] = shared
        yield Aligned(names, step, language, values)


def shared_words(pairs: ParallelPairs[Any], language: str) -> float | None:
    """Return the share of the words of a language's sentences that also occur in their pivot sentences.

    Words are separated by spaces, and case is ignored. The result is None for recordings.

    Example:
        >>> pairs = ParallelPairs({"en": ["Anna eats Käse", "Hi Bob"], "de": ["Anna isst Käse", "Hallo Bob"]})
        >>> shared_words(pairs, "de")
        0.6
    """
    if pairs.is_audio:
        return None
    bitext = pairs[language]
    words = [
        (word, set(pivot.lower().split()))
        for sentence, pivot in zip(bitext.sentences, bitext.pivot_sentences, strict=True)
        for word in sentence.lower().split()
    ]
    return sum(word in there for word, there in words) / len(words)


def _of_history(history: History, over: Over) -> Iterator[Aligned]:
    folder = None if history.path is None else history.path.resolve().parent
    if folder is not None and folder.name in (PUBLIC, PRIVATE):
        folder = folder.parent
    for entry in history.entries:
        model = entry.get("model")
        identity = Identity.of(str(model) if model else None)
        names = tuple(
            dict.fromkeys(name for name in (identity.model, None if folder is None else folder.name) if name)
        )
        for language in next(iter(entry["metrics"].values()))["languages"]:
            yield Aligned(names, entry["step"], language, dict(_of_entry(entry, language, over)))


def _of_entry(entry: Row, language: str, over: Over) -> Iterator[tuple[str, float]]:
    floor = None
    for row, found in entry["metrics"].items():
        numbers = found["languages"][language]
        *layers, mean = numbers["value"]
        yield row, mean if over == "mean" else layers[scale_in(entry, row).best(layers)]
        floor = numbers["floor"] if floor is None else floor
    if floor is not None:
        yield FLOOR, floor
