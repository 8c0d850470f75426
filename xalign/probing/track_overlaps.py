"""`track_overlaps`: the overlap of units that carry an attribute, along the checkpoints of a run."""

import gc
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from torch import nn
from transformers import PreTrainedTokenizerBase

from xalign.checks import whole_number
from xalign.errors import ReportError, XAlignError
from xalign.probing.findings import Findings
from xalign.probing.labelled import LabelledTexts
from xalign.probing.overlaps import overlaps
from xalign.probing.selectors import resolve_selector
from xalign.probing.word_units import checked_texts, labels_of, word_units
from xalign.schema import Fields
from xalign.storage import writable_folder
from xalign.warn import warn

Checkpoint = TypeVar("Checkpoint")
NAME = "overlaps.json"


class _Row(Fields):
    step: int
    site: str
    one: str
    two: str
    units: int
    shared: int
    share: float
    chance: float
    times_chance: float
    p: float


@dataclass(frozen=True)
class OverlapHistory(Findings):
    """What `track_overlaps` found: the rows of `Overlaps`, with the `step` of each checkpoint."""

    kind: ClassVar[str] = "xalign.OverlapHistory"
    row: ClassVar[type[Fields]] = _Row
    shown: ClassVar[tuple[str, ...]] = ("step", "site", "one", "two", "share", "chance", "times_chance", "p")

    @property
    def steps(self) -> list[int]:
        """The steps, from the first."""
        return sorted({row["step"] for row in self.rows})

    def curve(self, column: str = "times_chance", **where: Any) -> dict[int, float]:
        """Return step -> the mean of a column over sites and pairs of languages, or of those in `where`."""
        found = {step: [row[column] for row in self.where(step=step, **where)] for step in self.steps}
        return {step: sum(values) / len(values) for step, values in found.items() if values}


def track_overlaps(
    find: Callable[[], Mapping[int, Checkpoint]],
    load: Callable[[Checkpoint], tuple[nn.Module, PreTrainedTokenizerBase]],
    out: str | Path,
    texts: LabelledTexts,
    *,
    on_step: Callable[[int, float], object] | None = None,
    **options: Any,
) -> OverlapHistory:
    """Measure the overlap of word units at every checkpoint that the folder does not have yet.

    Each checkpoint is written to the file as soon as it is measured, so that an interrupted call can be
    repeated and continues where it stopped. One that cannot be loaded or measured is left out with a warning.

    Args:
        find: A function that returns step -> checkpoint, such as `lambda: checkpoints_of("run")`.
        load: A function from a checkpoint to its model and tokenizer.
        out: The folder of `overlaps.json`.
        texts: As in `word_units`.
        on_step: Called with the step and its mean overlap as a multiple of chance.
        **options: As in `word_units`; those of the file, where it has steps.

    Returns:
        The rows of all steps, from the first step on.

    Raises:
        ReportError: A folder that cannot be written, or a file of other texts or options.
        ArgumentError: Texts as in `word_units`.

    Example:
        >>> from xalign.probing.labelled import LabelledText
        >>> spans = ((0, 4, "NOUN"), (5, 9, "VERB"))
        >>> texts = {code: [LabelledText("Dogs bark.", spans)] * 10 for code in ("eng_Latn", "deu_Latn")}
        >>> found = {0: model, 100: model}
        >>> options = {"sites": "1.hidden", "k": 4, "least": 2}
        >>> load = lambda checkpoint: (checkpoint, tokenizer)
        >>> track_overlaps(lambda: found, load, "tracked", texts, **options).steps
        [0, 100]
    """
    texts = checked_texts(texts)
    labels_of(texts, whole_number("least", options.get("least", 20), least=2))  # as at every checkpoint
    options["selector"] = resolve_selector(options.get("selector", "gaussian"))
    path, about = writable_folder(out, ReportError) / NAME, _about(texts, options)
    history, found = _begun(path, about), find()
    for step in sorted(set(found) - set(history.steps)):
        rows = _rows_of(step, found[step], load, texts, options)
        gc.collect()  # before the next model is loaded
        if rows:
            rows = sorted([*history.rows, *rows], key=lambda row: row["step"])
            history = OverlapHistory(tuple(rows), about)
            history.save(path)
            if on_step is not None:
                on_step(step, history.curve()[step])
    return history


def _begun(path: Path, about: dict[str, Any]) -> OverlapHistory:
    """Return what a file holds of the same texts and options; nothing where there is no file."""
    history = OverlapHistory.load(path) if path.exists() else OverlapHistory((), about)
    if dict(history.about) != about:
        raise ReportError(
            f"{str(path)!r} holds overlaps of other texts or options, {history.about.get('options')}; give "
            "the same ones, or another folder"
        )
    return history


def _about(texts: LabelledTexts, options: Mapping[str, Any]) -> dict[str, Any]:
    content = {code: [[one.text, one.words] for one in own] for code, own in texts.items()}
    shown = {name: str(value) for name, value in options.items()} | {"selector": options["selector"].name}
    digest = hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()
    return {"fingerprint": digest, "languages": list(texts), "options": dict(sorted(shown.items()))}


def _rows_of(
    step: int,
    checkpoint: Checkpoint,
    load: Callable[[Checkpoint], tuple[nn.Module, PreTrainedTokenizerBase]],
    texts: LabelledTexts,
    options: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Return the rows of one checkpoint; none where it cannot be loaded or measured."""
    try:
        model, tokenizer = load(checkpoint)
        units = word_units(model, tokenizer, texts, **options)
        return [{"step": step, **row} for row in overlaps(units, model).rows]
    except (XAlignError, OSError) as error:
        warn(f"step {step} is left out: {error}")
        return []
