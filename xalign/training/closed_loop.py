"""`ClosedLoop`: measure a run, let a controller decide, and apply its decisions to the objective."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from xalign.checks import positive, whole_number
from xalign.control import CONTROLLERS
from xalign.control.budget import Budget
from xalign.control.controller import Controller, Decide, resolve_controller
from xalign.control.decision import Decision, Schedule
from xalign.control.fixed import Listed
from xalign.control.record import keep_earlier, read_record, record_of, write_records
from xalign.control.reference import Reference
from xalign.control.signals import Estimate, Signals
from xalign.errors import ArgumentError, PairsError
from xalign.measurement.run import Measurement
from xalign.metrics.collapse import EFFECTIVE_RANK, OTHERS_COSINE
from xalign.metrics.margin import MARGIN
from xalign.model.architectures.map import map_model
from xalign.model.distributed import Ranks
from xalign.monitor.keeps_running import KeepsRunning
from xalign.pairs.parallel import ParallelPairs
from xalign.results.report import AlignmentReport
from xalign.training.alignment_step import AlignmentStep
from xalign.training.guarded_texts import GuardedTexts
from xalign.training.layers import metric_of
from xalign.training.objective import AlignmentObjective
from xalign.training.refusals import is_language_model, refuse_foreign, refuse_own_order


class ClosedLoop:
    """Let measurements decide what a run aligns next.

    Call `step(n)` after each optimizer step, and with n = 0 before the first. At step 0 and at each multiple
    of `every` it measures control pairs, asks the controller, and puts the decision into
    `objective.schedule`. An error in a measurement does not end the run: the last decision stays in effect,
    and the error is reported once.

    Args:
        objective: The alignment objective of the run.
        control: Pairs that decisions are based on. They must share no sentence with the training pairs, and
            should share none with those that the run is judged by.
        controller: A name, a `Controller`, or a function (signals, decisions) -> `Decision`.
        max_steps: Number of steps of the whole run.
        every: Measure every so many steps.
        guard: Language -> texts whose language-modelling loss must not rise; by default, if the model
            generates, the control pairs' pivot sentences.
        reference: The `decisions.jsonl` of a run on the task alone, against which forgetting is judged; a run
            with `control="fixed"` and weight 0 writes it. Without one, the losses before training are used.
        budget_pairs: The most pairs to train on.
        budget_seconds: The most seconds of the run in which to align.
        folder: Keep `decisions.jsonl` there.

    Attributes:
        objective: As given.
        controller: The controller.
        control: The control pairs.
        decisions: What was decided so far.
        signals: What was measured at each decision.

    Raises:
        ArgumentError: An unknown controller, an empty budget, a guard of too few texts, or listed decisions
            of another run.
        PairsError: A sentence of the training pairs among the control pairs, or a language without control
            pairs.
    """

    def __init__(
        self,
        objective: AlignmentObjective,
        control: ParallelPairs,
        controller: str | Controller | Decide = "loop",
        *,
        max_steps: int,
        every: int = 25,
        guard: Mapping[str, Sequence[str]] | None = None,
        reference: str | Path | None = None,
        budget_pairs: int | None = None,
        budget_seconds: float | None = None,
        folder: str | Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.objective, self.control = objective, control
        self.controller = resolve_controller(controller, CONTROLLERS)
        self.max_steps = whole_number("max_steps", max_steps, least=1)
        self.every = whole_number("control_every", every, least=1)
        self._budget = Budget(
            None if budget_pairs is None else whole_number("budget_pairs", budget_pairs, least=1),
            None if budget_seconds is None else positive("budget_seconds", budget_seconds),
        )
        refuse_own_order(objective.config)
        missing = [code for code in objective.pairs if code not in control]
        if missing:
            raise PairsError(
                f"control has no pairs of {', '.join(missing)}, which are trained on: without a measurement "
                "nothing can be decided of them"
            )
        objective.hold_out(control)
        self._n_layers = map_model(objective.model).n_layers
        for listed in self.controller.decisions if isinstance(self.controller, Listed) else ():
            refuse_foreign(listed, objective.pairs, self._n_layers)
        self._ranks = Ranks(shared=True)
        self.keeps_running = KeepsRunning(self._ranks)
        self._measurement = self._make_measurement()
        self._guard = self._make_guard(guard)
        self._reference = None if reference is None else Reference.load(reference)
        self._folder = None if folder is None or self._ranks.index else Path(folder)
        self._clock = clock
        self.begin()

    def _make_measurement(self) -> Measurement:
        config = self.objective.config
        kind = config.kind or config.resolved_loss.kinds[0]
        self._metric = metric_of(kind)
        metrics = (self._metric, MARGIN, OTHERS_COSINE, EFFECTIVE_RANK)
        control = self.control.only([code for code in self.control if code in self.objective.pairs])
        model, tokenizer = self.objective.model, self.objective.inputs.tokenizer
        return Measurement(model, tokenizer, control, metrics, distributed=True, **config.measure_options)

    def _make_guard(self, texts: Mapping[str, Sequence[str]] | None) -> GuardedTexts | None:
        if texts is None:
            if self.control.is_audio or not is_language_model(self.objective.model):
                return None
            pivot = next(iter(self.control.values())).pivot_sentences
            texts = {self.control.pivot: list(dict.fromkeys(pivot))}
        elif not is_language_model(self.objective.model):
            raise ArgumentError("guard needs a causal language model, and this is none; leave guard out")
        return GuardedTexts(texts, self.objective.inputs)

    # A run.

    def begin(
        self,
        step: int = 0,
        kept: Sequence[Mapping[str, Any]] = (),
        counts: Mapping[str, Any] | None = None,
    ) -> None:
        """Begin a run, or resume one.

        Args:
            step: The number of optimizer steps done.
            kept: The records of the run before it was interrupted, as `records` gave them.
            counts: What it had trained on, as `counts` gave it; if None, what the last record says.

        Raises:
            ArgumentError: Records of another run: of other languages, or none of step 0.
        """
        found = [read_record(one) for one in kept if one["step"] <= step]
        languages = set(self._measurement.pairs)
        for signals, _ in found:
            if set(signals.alignment) != languages:
                raise ArgumentError(
                    f"the decisions of step {signals.step} are of {', '.join(sorted(signals.alignment))}, "
                    f"and this run has {', '.join(sorted(languages))}: go on with the same languages"
                )
        self.signals = [signals for signals, _ in found]
        self.decisions = [decision for _, decision in found]
        self.objective.schedule = Schedule(self.decisions)
        last = self.signals[-1] if self.signals else None
        known: dict[str, Any] = (
            {"pairs": last.pairs, "replayed": last.replayed, "seconds": last.seconds} if last else {}
        )
        known |= counts or {}
        self._pairs = dict(known.get("pairs", dict.fromkeys(languages, 0)))
        self._replayed = known.get("replayed", 0)
        self._task = _Mean(*known.get("task", ()))
        self._started = self._clock() - known.get("seconds", 0.0)

    @property
    def records(self) -> list[dict[str, Any]]:
        """Measurements and decisions so far, as JSON holds them."""
        both = zip(self.signals, self.decisions, strict=True)
        return [record_of(signals, decision, self.controller.name) for signals, decision in both]

    @property
    def counts(self) -> dict[str, Any]:
        """What the run has trained on so far, for a checkpoint."""
        seconds = self._clock() - self._started
        return {
            "pairs": self._pairs,
            "replayed": self._replayed,
            "task": list(self._task.parts),
            "seconds": seconds,
        }

    def count(
        self, seen: AlignmentStep | None, task_loss: float | Tensor | None = None, replayed: int = 0
    ) -> None:
        """Note what one call of the objective has trained on.

        Args:
            seen: `objective.last` after the call.
            task_loss: The task's own loss of the micro-batch.
            replayed: Documents that your own loop has replayed, in addition to those of the objective.
        """
        self._replayed += replayed * self._ranks.count
        if seen is not None:
            for code in seen.codes:
                self._pairs[code] = self._pairs.get(code, 0) + self._ranks.count
            if seen.replay_loss is not None:
                self._replayed += self.objective.config.replay_batch_size * self._ranks.count
        if task_loss is not None:
            self._task.add(task_loss)

    def step(self, n: int, *, learning_rate: float | None = None) -> Decision | None:
        """Measure and decide, if a decision is due at step n.

        Args:
            n: The number of optimizer steps done.
            learning_rate: The learning rate now, as a share of its largest.

        Returns:
            The decision, or None if there was none.

        Raises:
            ArgumentError: The controller refuses the first measurement, such as one above its target. Later
                errors leave the last decision in effect.
        """
        is_due = n % self.every == 0 and n < self.max_steps
        if not is_due or (self.signals and n <= self.signals[-1].step):
            return None
        before = len(self.decisions)
        problem = "no decision could be made, and the last one stays"
        refused: ArgumentError | None = None
        with self.keeps_running("decisions", n, problem, together=True):
            signals = self._look(n, learning_rate)
            try:
                self._add(signals, self._decide(signals))
            except ArgumentError as error:
                if self.signals:
                    raise
                refused = error
        if refused is not None:
            raise refused
        return self.decisions[-1] if len(self.decisions) > before else None

    def _add(self, signals: Signals, decision: Decision) -> None:
        decision = self._ranks.broadcast(decision)
        self.objective.schedule.add(decision)
        self.signals.append(signals)
        self.decisions.append(decision)
        self._task = _Mean()
        if self._folder is not None:
            if len(self.decisions) == 1:
                keep_earlier(self._folder)
            with self.keeps_running("decisions.jsonl", signals.step, "the decisions could not be written"):
                write_records(self.records, self._folder)

    def _decide(self, signals: Signals) -> Decision:
        decision = self.controller.decide([*self.signals, signals], self.decisions)
        if not isinstance(decision, Decision):
            raise ArgumentError(
                f"controller {self.controller.name!r} must return a Decision, not {decision!r:.60}"
            )
        refuse_foreign(decision, self.objective.pairs, self._n_layers)
        return self._budget.within(decision, signals, self._pairs_per_step(signals.step))

    def _pairs_per_step(self, step: int) -> float:
        """Return how many pairs a step with alignment has trained on, in the mean of those so far."""
        done = self.objective.schedule.aligned_steps(step)
        return sum(self._pairs.values()) / done if done else float(self.objective.config.batch_size)

    def _alone(self, step: int, guard: Mapping[str, float]) -> dict[str, float]:
        if self._reference is None:
            return {}
        found = self._reference.at(step / self.max_steps)
        return {code: loss for code, loss in found.items() if code in guard}

    def _look(self, step: int, learning_rate: float | None) -> Signals:
        model = self.objective.model
        self._measurement.model = model
        report = self._measurement.run(step)
        guard = {} if self._guard is None else self._guard.loss(model)
        name = self._metric.name
        return Signals(
            step=step,
            max_steps=self.max_steps,
            alignment={code: _estimate(report, name, code) for code in report.languages},
            by_layer={code: _by_layer(report, name, code) for code in report.languages},
            margin={code: report.score(MARGIN.name, code) for code in report.languages},
            others_cosine=report.score(OTHERS_COSINE.name),
            effective_rank=report.score(EFFECTIVE_RANK.name),
            task_loss=self._task.value,
            guard=guard,
            guard_alone=self._alone(step, guard),
            learning_rate=learning_rate,
            pairs=dict(self._pairs),
            replayed=self._replayed,
            seconds=self._clock() - self._started,
        )


class _Mean:
    """A mean of numbers, which may be on a device: they are fetched from there when the mean is asked for."""

    def __init__(self, total: float = 0.0, count: int = 0) -> None:
        self._total: float | Tensor = total
        self._count = count

    def add(self, value: float | Tensor) -> None:
        self._total, self._count = self._total + value, self._count + 1

    @property
    def parts(self) -> tuple[float, int]:
        return float(self._total), self._count

    @property
    def value(self) -> float | None:
        return float(self._total) / self._count if self._count else None


def _estimate(report: AlignmentReport, metric: str, language: str) -> Estimate:
    value = report.score(metric, language)
    low, high = report.interval(metric, language)
    return Estimate(value, value if low is None else low, value if high is None else high)


def _by_layer(report: AlignmentReport, metric: str, language: str) -> dict[int, float]:
    rows = (row for row in report.to_rows() if (row["metric"], row["language"]) == (metric, language))
    return {row["layer"]: row["value"] for row in rows if isinstance(row["layer"], int)}
