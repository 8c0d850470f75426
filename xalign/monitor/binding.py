"""`bind`: a callback's settings, checked against the trainer whose model it will measure."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from transformers import PreTrainedTokenizerBase

from xalign.checks import whole_number
from xalign.errors import ArgumentError
from xalign.measurement.options import MeasureOptions
from xalign.measurement.run import Metrics
from xalign.metrics import METRICS
from xalign.model.distributed import Ranks
from xalign.model.wrapped import has_adapter
from xalign.monitor.cadence import Every
from xalign.monitor.hf_trainer import HuggingFaceTrainer, model_of, tokenizer_of
from xalign.monitor.keep_best import KeepBest
from xalign.monitor.monitor import AlignmentMonitor
from xalign.monitor.peers import Peer, refuse_second_best
from xalign.monitor.privacy import folder_of
from xalign.monitor.regression_watch import OnRegression
from xalign.monitor.report_log import ReportLog, Trackers
from xalign.monitor.scalars import LogScalars, scalar_keys
from xalign.monitor.selection import check_selection, distinctive_names, exact_key
from xalign.monitor.trainer_run import TrainerRun
from xalign.pairs.parallel import ParallelPairs
from xalign.trackers.tracker import Tracker


@dataclass(frozen=True, slots=True)
class When:
    """When an `AlignmentCallback` measures; its arguments are described there.

    Raises:
        ArgumentError: It would never measure.
    """

    every: Every
    at_steps: Sequence[int]
    at_evaluate: bool
    at_start: bool
    at_end: bool
    max_share: float

    def __post_init__(self) -> None:
        """Refuse what never comes."""
        if not (self.every is not None or self.at_steps or self.at_evaluate or self.at_start or self.at_end):
            raise ArgumentError(
                "nothing to measure at: give every=N, or leave one of at_evaluate, at_start, at_end on"
            )


@dataclass(frozen=True, slots=True)
class Settings:
    """What else an `AlignmentCallback` was made with.

    Raises:
        ArgumentError: `heatmap_every` below 1.
    """

    pairs: ParallelPairs | str | Path
    metrics: Metrics
    options: MeasureOptions
    tokenizer: PreTrainedTokenizerBase | None
    trackers: Sequence[Tracker[Any]]
    keep_best: str | None
    on_regression: OnRegression
    heatmap_every: int | None
    save_reports: bool
    log_scalars: LogScalars

    def __post_init__(self) -> None:
        """Refuse pictures that would never be drawn."""
        if self.heatmap_every is not None:
            whole_number("heatmap_every", self.heatmap_every, least=1)


class Bound(Peer, Protocol):
    """The part of the callback that is used here."""

    log_text: bool


@dataclass(frozen=True, slots=True)
class Binding:
    """A callback and its trainer.

    Attributes:
        trainer: The trainer.
        monitor: The monitor that measures.
        run: The object that measures during the trainer's run.
        keep_best: What keeps the best checkpoint, if anything.
        selecting: The key by which the trainer selects its best model, if it is a value of alignment.
    """

    trainer: HuggingFaceTrainer
    monitor: AlignmentMonitor
    run: TrainerRun
    keep_best: KeepBest | None
    selecting: str | None


def bind(
    settings: Settings, when: When, trainer: HuggingFaceTrainer, callback: Bound, peers: Sequence[Peer]
) -> Binding:
    """Check settings against a trainer, run a first forward, and print what one measurement costs.

    Args:
        settings: The settings.
        when: When it measures.
        trainer: The trainer.
        callback: The callback.
        peers: The trainer's other callbacks of this kind.

    Raises:
        ArgumentError, ModelError, ReportError: As for `AlignmentCallback`.
    """
    name, tokenizer = callback.name, tokenizer_of(trainer, settings.tokenizer)
    found = Trackers(trainer.callback_handler.callbacks, settings.trackers)
    monitor = AlignmentMonitor(
        *(model_of(trainer), tokenizer, settings.pairs, settings.metrics),
        every=when.every,
        at_steps=when.at_steps,
        max_share=when.max_share,
        save_dir=folder_of(trainer.args, log_text=callback.log_text) / name,
        save_reports=settings.save_reports,
        on_regression=settings.on_regression,
        name=name,
        log_scalars=settings.log_scalars,
        **settings.options,
    )
    selecting = _selecting(when, name, trainer, monitor)
    keep_best = _keep_best(settings.keep_best, callback, trainer, monitor)
    if keep_best is not None:
        refuse_second_best(keep_best.key, peers)
    moments = {one: getattr(when, one) for one in ("at_evaluate", "at_start", "at_end")}
    Ranks(shared=True).refuse_differences(moments | {"keep_best": settings.keep_best})
    monitor.measurement.probe()
    key, every = f"alignment-{name}" if name else "alignment", settings.heatmap_every
    report_log = ReportLog(found, key, heatmap_every=every, log_text=callback.log_text)
    if monitor.is_first_process:
        for line in (monitor.cost_line, *found.prepare(trainer.args.report_to)):
            print(line)  # noqa: T201
    keys = {*filter(None, [selecting, None if keep_best is None else f"eval_{keep_best.key}"])}
    run = TrainerRun(trainer, monitor, report_log, keep_best, keys)
    return Binding(trainer, monitor, run, keep_best, selecting)


def _keys(name: str, trainer: HuggingFaceTrainer, monitor: AlignmentMonitor) -> dict[str, bool]:
    measurement = monitor.measurement
    over_base = has_adapter(model_of(trainer))
    return scalar_keys(measurement.metrics, list(measurement.pairs), name, over_base=over_base)


def _selecting(when: When, name: str, trainer: HuggingFaceTrainer, monitor: AlignmentMonitor) -> str | None:
    """Check the trainer's selection of its best model against the keys that there will be."""
    measurement = monitor.measurement
    return check_selection(
        trainer.args,
        _keys(name, trainer, monitor) if when.at_evaluate else {},
        distinctive_names(name, [one.name for one in measurement.metrics if one.name not in METRICS]),
        f"with these metrics, pairs and at_evaluate={when.at_evaluate}",
        list(measurement.pairs),
    )


def _keep_best(
    asked: str | None, callback: Bound, trainer: HuggingFaceTrainer, monitor: AlignmentMonitor
) -> KeepBest | None:
    if asked is None:
        return None
    keys = _keys(callback.name, trainer, monitor)
    key = exact_key(str(asked).removeprefix("eval_"), keys, list(monitor.measurement.pairs))
    folder = folder_of(trainer.args, log_text=callback.log_text)
    return KeepBest(key, trainer.args, keys, folder, monitor.keeps_running)
