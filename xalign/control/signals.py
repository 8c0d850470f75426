"""`Signals`: what a controller sees of a run at one measurement."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Estimate(NamedTuple):
    """A score with its 95 % interval over the control pairs."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """What is known of a run at one measurement.

    Attributes:
        step: The number of optimizer steps done.
        max_steps: The number of steps of the whole run.
        alignment: Language -> its score on the control pairs, mean over layers, in [0, 1].
        by_layer: Language -> block -> the same score at one block.
        margin: Language -> how much more similar translations are than the closest other sentence.
        others_cosine: Mean cosine of sentences that are no translations of each other. It nears 1 where
            states collapse.
        effective_rank: Number of directions that the states spread over, at most their width.
        task_loss: The task's loss since the last measurement; None where there was no step.
        guard: Language -> language-modelling loss of the guarded texts, in nats per token.
        guard_alone: Language -> what that loss would be had only the task been learnt; empty if not known.
        learning_rate: The optimizer's learning rate as a share of its largest so far; None if not known.
        pairs: Language -> pairs trained on so far.
        replayed: Documents replayed so far.
        seconds: Wall-clock time of the run so far.
    """

    step: int
    max_steps: int
    alignment: Mapping[str, Estimate]
    by_layer: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    margin: Mapping[str, float] = field(default_factory=dict)
    others_cosine: float | None = None
    effective_rank: float | None = None
    task_loss: float | None = None
    guard: Mapping[str, float] = field(default_factory=dict)
    guard_alone: Mapping[str, float] = field(default_factory=dict)
    learning_rate: float | None = None
    pairs: Mapping[str, int] = field(default_factory=dict)
    replayed: int = 0
    seconds: float = 0.0

    @property
    def progress(self) -> float:
        """The share of the run that is done, from 0 to 1."""
        return min(1.0, self.step / self.max_steps) if self.max_steps else 0.0

    @property
    def all_pairs(self) -> int:
        """Pairs trained on so far, in all languages."""
        return sum(self.pairs.values())
