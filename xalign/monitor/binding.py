"""`bind`: a callback's settings, checked against the trainer whose model it will measure."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from xalign.monitor.peers import Peer, refuse_duplicates
from xalign.monitor.privacy import folder_of
from xalign.monitor.regression_watch import OnRegression
from xalign.monitor.report_log import ReportLog, Trackers
from xalign.monitor.scalars import scalar_keys
from xalign.monitor.selection import check_selection, distinctive_names, exact_key
from xalign.monitor.trainer_run import TrainerRun
from xalign.pairs.parallel import ParallelPairs
from xalign.trackers.tracker import Tracker


@dataclass(frozen=True, slots=True)
class Settings:
    """What an `AlignmentCallback` was made with; its arguments are described there.

    Raises:
        ArgumentError: Nothing to measure at, or a number of measurements below 1.
    """

    pairs: ParallelPairs | str | Path
    every: Every
    metrics: Metrics
    at_evaluate: bool
    at_start: bool
    at_end: bool
    at_steps: Sequence[int]
    max_share: float
    keep_best: str | None
    on_regression: OnRegression
    heatmap_every: int | None
    log_text: bool
    name: str
    save_reports: bool
    tokenizer: PreTrainedTokenizerBase | None
    trackers: Sequence[Tracker[Any]]
    options: MeasureOptions

    def __post_init__(self) -> None:
        """Refuse what would never be measured or drawn."""
        if not (self.every is not None or self.at_steps or self.at_evaluate or self.at_start or self.at_end):
            raise ArgumentError(
                "nothing to measure at: give every=N, or leave one of at_evaluate, at_start, at_end on"
            )
        if self.heatmap_every is not None:
            whole_number("heatmap_every", self.heatmap_every, least=1)


@dataclass(frozen=True, slots=True)
class Binding:
    """A callback and its trainer.

    Attributes:
        trainer: The trainer.
        monitor: What measures.
        run: What measures in the course of the trainer's run.
        keep_best: What keeps the best checkpoint, if anything.
        selecting: The key by which the trainer selects its best model, if it is a value of alignment.
    """

    trainer: HuggingFaceTrainer
    monitor: AlignmentMonitor
    run: TrainerRun
    keep_best: KeepBest | None
    selecting: str | None


@dataclass(frozen=True, slots=True)
class _Own:
    name: str
    best_key: str | None


def bind(settings: Settings, trainer: HuggingFaceTrainer, peers: Sequence[Peer]) -> Binding:
    """Check settings against a trainer, run a first forward, and print what one measurement costs.

    Args:
        settings: The settings.
        trainer: The trainer.
        peers: Its other callbacks of this kind.

    Raises:
        ArgumentError, ModelError, ReportError: As for `AlignmentCallback`.
    """
    name, tokenizer = settings.name, tokenizer_of(trainer, settings.tokenizer)
    refuse_duplicates(_Own(name, None), peers)
    found = Trackers(trainer.callback_handler.callbacks, settings.trackers)
    monitor = AlignmentMonitor(
        *(model_of(trainer), tokenizer, settings.pairs, settings.metrics),
        every=settings.every,
        at_steps=settings.at_steps,
        max_share=settings.max_share,
        save_dir=folder_of(trainer.args, log_text=settings.log_text) / name,
        save_reports=settings.save_reports,
        on_regression=settings.on_regression,
        name=name,
        **settings.options,
    )
    keep_best, selecting = _selection(settings, trainer, monitor)
    refuse_duplicates(_Own(name, keep_best.key if keep_best else None), peers)
    when = {one: getattr(settings, one) for one in ("at_evaluate", "at_start", "at_end", "keep_best")}
    Ranks(shared=True).refuse_differences(when)
    monitor.measurement.probe()
    key, every = f"alignment-{name}" if name else "alignment", settings.heatmap_every
    report_log = ReportLog(found, key, heatmap_every=every, log_text=settings.log_text)
    if monitor.is_first_process:
        for line in (monitor.cost_line, *found.prepare(trainer.args.report_to)):
            print(line)  # noqa: T201
    return Binding(
        trainer, monitor, TrainerRun(trainer, monitor, report_log, keep_best), keep_best, selecting
    )


def _selection(
    settings: Settings, trainer: HuggingFaceTrainer, monitor: AlignmentMonitor
) -> tuple[KeepBest | None, str | None]:
    """Check what selects the best model against the keys that there will be."""
    measurement, args, name = monitor.measurement, trainer.args, settings.name
    languages = list(measurement.pairs)
    keys = scalar_keys(measurement.metrics, languages, name, over_base=has_adapter(model_of(trainer)))
    selecting = check_selection(
        args,
        keys if settings.at_evaluate else {},
        distinctive_names(name, [one.name for one in measurement.metrics if one.name not in METRICS]),
        f"with these metrics, pairs and at_evaluate={settings.at_evaluate}",
        languages,
    )
    if settings.keep_best is None:
        return None, selecting
    key = exact_key(str(settings.keep_best).removeprefix("eval_"), keys, languages)
    folder = folder_of(args, log_text=settings.log_text)
    return KeepBest(key, args, keys, folder, monitor.keeps_running), selecting
