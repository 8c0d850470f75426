"""`Decision`: what training does from one measurement to the next, and `Schedule`: the decisions of a run."""

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from xalign.checks import number, positive, whole_number
from xalign.errors import ArgumentError, ArgumentTypeError

_ROUNDING = 1e-9  # of step × duty


@dataclass(frozen=True, slots=True)
class Decision:
    """What the alignment branch and the replay do from a step on.

    The default is what training does without a controller: align and replay at every step, evenly over the
    languages.

    Attributes:
        step: The number of optimizer steps done when it takes effect.
        weight: Factor of the alignment loss, on top of the config's own `weight`.
        duty: The share of the steps at which pairs are trained on, from 0 to 1. The steps are evenly spread:
            with 0.25 it is every fourth.
        replay: The share of the steps at which documents are replayed.
        shares: Language -> its share of the pairs; empty for even shares. They sum to 1.
        layers: Block -> weight of the alignment loss there; empty for those of the config.
        stop: End the training.
        reason: Why, in a sentence.

    Raises:
        ArgumentError: A value out of its range, or shares that do not sum to 1; the field is named.

    Example:
        >>> quarter = Decision(step=100, duty=0.25, reason="every language has reached its target")
        >>> [step for step in range(8) if quarter.aligns_at(step)]
        [3, 7]
    """

    step: int = 0
    weight: float = 1.0
    duty: float = 1.0
    replay: float = 1.0
    shares: Mapping[str, float] = field(default_factory=dict)
    layers: Mapping[int, float] = field(default_factory=dict)
    stop: bool = False
    reason: str = ""

    def __post_init__(self) -> None:
        """Check every field."""
        whole_number("step", self.step)
        positive("weight", self.weight, zero=True)
        for name in ("duty", "replay"):
            if not 0 <= number(name, getattr(self, name)) <= 1:
                raise ArgumentError(f"{name}={getattr(self, name)!r} must lie between 0 and 1")
        if not isinstance(self.stop, bool):
            raise ArgumentTypeError(f"stop={self.stop!r} must be true or false")
        for name in ("shares", "layers"):
            values = getattr(self, name)
            if not isinstance(values, Mapping):
                raise ArgumentTypeError(f"{name}={values!r:.60} must be a mapping to numbers")
            checked = {key: positive(f"{name}[{key!r}]", one, zero=True) for key, one in values.items()}
            if checked and not math.isclose(sum(checked.values()), 1, abs_tol=1e-6):
                raise ArgumentError(f"{name}={checked!r:.120} must sum to 1, not {sum(checked.values()):g}")
            object.__setattr__(self, name, checked)

    def aligns_at(self, step: int) -> bool:
        """Return whether pairs are trained on at a step."""
        return self.weight > 0 and _is_due(step, self.duty)

    def aligned_steps(self, first: int, last: int) -> int:
        """Return at how many of the steps from `first` to before `last` pairs are trained on."""
        return _due_before(last, self.duty) - _due_before(first, self.duty) if self.weight > 0 else 0

    def replays_at(self, step: int) -> bool:
        """Return whether documents are replayed at a step."""
        return _is_due(step, self.replay)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON holds them."""
        plain = {"shares": dict(self.shares), "layers": {str(key): one for key, one in self.layers.items()}}
        return {name: getattr(self, name) for name in self.__slots__} | plain

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Decision":
        """Return the decision that `to_dict` described.

        Raises:
            ArgumentError: Fields that are unknown, or values out of their ranges.
        """
        unknown = [name for name in fields if name not in cls.__slots__]
        if unknown:
            raise ArgumentError(f"a decision has no field {', '.join(map(repr, unknown))}")
        layers = {int(block): weight for block, weight in dict(fields.get("layers", {})).items()}
        return cls(**{**fields, "layers": layers})


def _is_due(step: int, share: float) -> bool:
    """Return whether a step is among those of a share, which are evenly spread."""
    return _due_before(step + 1, share) > _due_before(step, share)


def _due_before(step: int, share: float) -> int:
    return math.floor(step * share + _ROUNDING)


class Schedule:
    """The decisions of a run, by the steps at which they take effect.

    What is trained on at a step follows from the seed, the step and the decision in effect, and from nothing
    else. So a run that is resumed, or repeated with the decisions of another, trains on the same.

    Args:
        decisions: The decisions so far, in any order.

    Raises:
        ArgumentError: Two decisions of one step.

    Example:
        >>> schedule = Schedule([Decision(0), Decision(50, duty=0.5)])
        >>> schedule.at(49).duty, schedule.at(50).duty
        (1.0, 0.5)
    """

    def __init__(self, decisions: Iterable[Decision] = ()) -> None:
        self._decisions = sorted(decisions, key=lambda decision: decision.step)
        self._steps = [decision.step for decision in self._decisions]
        if len(set(self._steps)) < len(self._steps):
            twice = next(step for step in self._steps if self._steps.count(step) > 1)
            raise ArgumentError(f"there are two decisions of step {twice}; leave one of them out")

    def at(self, step: int) -> Decision:
        """Return the decision in effect at a step; before the first one, that is what the config says."""
        place = bisect_right(self._steps, step)
        return self._decisions[place - 1] if place else _DEFAULT

    def add(self, decision: Decision) -> None:
        """Add a decision at the end.

        Raises:
            ArgumentError: It takes effect before the last one does, or with it.
        """
        if self._steps and decision.step <= self._steps[-1]:
            raise ArgumentError(
                f"the decision of step {decision.step} must come after that of step {self._steps[-1]}"
            )
        self._decisions.append(decision)
        self._steps.append(decision.step)

    def aligned_steps(self, last: int) -> int:
        """Return at how many steps before `last` pairs are trained on."""
        steps = [0, *(min(step, last) for step in self._steps), last]
        both = zip((_DEFAULT, *self._decisions), steps, steps[1:], strict=False)
        return sum(decision.aligned_steps(first, end) for decision, first, end in both)


_DEFAULT = Decision()
