"""`Calls`: when a training loop asks for pairs, so that their order follows from the step alone."""

from dataclasses import dataclass

from xalign.checks import whole_number
from xalign.errors import ArgumentError


@dataclass(frozen=True, slots=True)
class Calls:
    """How many micro-batches the steps of a loop have, and which of them ask for pairs.

    Attributes:
        per_step: Micro-batches per step, as set by gradient accumulation.
        per_epoch: Micro-batches per epoch of the task's data, if the last step of an epoch has only those
            that are left; None if every step has the same number.
        every: Every N-th micro-batch asks for pairs, counted over steps of `per_step` each.

    Example:
        >>> Calls(per_step=4, per_epoch=10).before(step=3, micro_step=1)
        11
    """

    per_step: int = 1
    per_epoch: int | None = None
    every: int = 1

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("per_step", "every"):
            whole_number(name, getattr(self, name), least=1)
        if self.per_epoch is not None:
            whole_number("per_epoch", self.per_epoch, least=1)

    def before(self, step: int, micro_step: int) -> int:
        """Return how many times a process has asked for pairs before a micro-batch that asks for them.

        Args:
            step: The number of optimizer steps done.
            micro_step: The index of the micro-batch within its step.

        Raises:
            ArgumentError: A micro-batch that a step does not have.
        """
        if micro_step >= self.per_step:
            raise ArgumentError(
                f"micro_step={micro_step}, and a step has {self.per_step} call(s): epochs over the pairs "
                "must know how many there are: objective.calls = xalign.training.calls.Calls(per_step=...)"
            )
        asked = (step * self.per_step + micro_step) // self.every
        if self.per_epoch is None:
            return asked
        steps = -(-self.per_epoch // self.per_step)
        missing = steps * self.per_step - self.per_epoch
        ends = range(steps * self.per_step, step * self.per_step + 1, steps * self.per_step)
        return asked - sum(end // self.every - (end - missing) // self.every for end in ends)
