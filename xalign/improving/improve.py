"""`improve`: measure a model, train it, centre its languages where that helps, and measure again."""

import time
from typing import Any, cast

from transformers import Trainer

from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.improving.centring import fit_centring
from xalign.improving.improvement import Improvement
from xalign.measurement.options import MeasureOptions
from xalign.measurement.run import Metrics
from xalign.monitor.cadence import Every
from xalign.monitor.callback import AlignmentCallback
from xalign.pairs.parallel import ParallelPairs
from xalign.results.report import AlignmentReport
from xalign.training.closed_loop import ClosedLoop
from xalign.training.guarded_texts import FEWEST, GuardedTexts
from xalign.training.objective import AlignmentObjective
from xalign.training.refusals import is_language_model, refuse_overlap


def improve(
    trainer: Trainer,
    reporting: ParallelPairs,
    *,
    metrics: Metrics = ("nasca", "retrieval"),
    every: Every = None,
    centre: bool = True,
    resume_from_checkpoint: str | bool | None = None,
) -> Improvement:
    """Measure a trainer's model, train it, centre its languages where that helps, and measure again.

    It reports on sentences that were used neither for training nor for decisions. Centring subtracts each
    language's mean at the end of every block (`xalign.finding.mean_difference`). It is fitted on the training
    pairs, and kept for the languages in which it surely helps on the control pairs of the trainer's closed
    loop. Without a closed loop it is not tried. The numbers are kept beside the history of the run, and
    `history.to_html` shows both on one page.

    Args:
        trainer: A trainer made by `with_alignment`, not trained yet, with no `AlignmentCallback`.
        reporting: Pairs to report on. They share no sentence with those trained on or decided by.
        metrics: What to report.
        every: How often to report during training, as in `AlignmentCallback`.
        centre: Whether to try centring.
        resume_from_checkpoint: As in `Trainer.train`.

    Returns:
        The reports, with what got worse.

    Raises:
        ArgumentTypeError: The trainer was not made by `with_alignment`.
        ArgumentError: It has an `AlignmentCallback` already.
        PairsError: Sentences that are trained on, or decided by, are among those to report on.
    """
    objective, loop = _checked(trainer, reporting)
    options = objective.config.measure_options
    callback = AlignmentCallback(trainer, reporting, every, metrics, **options)
    trainer.add_callback(callback)
    texts = _texts_of(objective, reporting)
    first_losses = {} if texts is None else texts.loss(objective.model)
    started = time.monotonic()
    trainer.train(resume_from_checkpoint=resume_from_checkpoint)
    seconds = time.monotonic() - started
    last_losses = {} if texts is None else texts.loss(objective.model)
    before, trained = _ends_of(callback, is_resumed=resume_from_checkpoint is not None)
    found: dict[str, Any] = {}
    if loop is not None:
        found = {"decisions": tuple(loop.decisions), "cost": _cost(trainer, loop, seconds)}
        if centre:
            found |= _centred(trainer, objective, loop.control, reporting, metrics, options)
    history = callback.history
    improvement = Improvement(
        before=before,
        trained=trained,
        losses={code: (loss, last_losses[code]) for code, loss in first_losses.items()},
        folder=None if history.path is None else history.path.parent,
        **found,
    )
    if improvement.folder is not None and trainer.is_world_process_zero():
        improvement.save(improvement.folder)
    return improvement


def _checked(trainer: Trainer, reporting: ParallelPairs) -> tuple[AlignmentObjective, ClosedLoop | None]:
    """Return the objective of a trainer and its closed loop; refuse what could not be reported on."""
    objective = getattr(trainer, "objective", None)
    if not isinstance(objective, AlignmentObjective):
        raise ArgumentTypeError(
            f"trainer must be made by with_alignment, not be a plain {type(trainer).__name__}: "
            "with_alignment(Trainer)(..., alignment=AlignmentConfig(pairs=...))"
        )
    if any(isinstance(one, AlignmentCallback) for one in trainer.callback_handler.callbacks):
        raise ArgumentError(
            "the trainer has an AlignmentCallback already; improve adds one of its own: leave yours out"
        )
    loop = cast(ClosedLoop | None, getattr(trainer, "closed_loop", None))
    if loop is not None:
        refuse_overlap(loop.control, reporting, what="control")
    refuse_overlap(objective.pairs, reporting)
    return objective, loop


def _ends_of(callback: AlignmentCallback, *, is_resumed: bool) -> tuple[AlignmentReport, AlignmentReport]:
    """Return the reports before the first step and after the last one."""
    history, first = callback.history, next(iter(callback.reports), None)
    if is_resumed and history.steps:
        first = history.report(history.steps[0])
    if first is None or callback.report is None:
        raise ArgumentError(
            "the run was not measured before and after training: the warnings above say why; run it again"
        )
    return first, callback.report


def _texts_of(objective: AlignmentObjective, pairs: ParallelPairs) -> GuardedTexts | None:
    """Return the reported sentences as texts whose loss is measured; None where they have none."""
    if pairs.is_audio or not is_language_model(objective.model) or len(next(iter(pairs.values()))) < FEWEST:
        return None
    return GuardedTexts(
        {code: list(dict.fromkeys(sentences)) for code, sentences in pairs.texts.items()}, objective.inputs
    )


def _cost(trainer: Trainer, loop: ClosedLoop, seconds: float) -> dict[str, float]:
    counts = loop.counts
    return {
        "steps": trainer.state.global_step,
        "pairs": sum(counts["pairs"].values()),
        "replayed": counts["replayed"],
        "seconds": seconds,
    }


def _centred(
    trainer: Trainer,
    objective: AlignmentObjective,
    control: ParallelPairs,
    reporting: ParallelPairs,
    metrics: Metrics,
    options: MeasureOptions,
) -> dict[str, Any]:
    """Return the report with the languages centred, and those in which that helps by the control pairs."""
    centring = fit_centring(objective.model, objective.inputs.tokenizer, objective.pairs, options)
    centred = centring.measure(reporting, metrics, trainer.state.global_step)
    return {"centred": centred, "kept": centring.helps(control, centred.measured[0])}
