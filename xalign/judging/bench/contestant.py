"""`Contestant`: a way to steer as the bench compares it: how it is found, and what is tried."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase

from xalign.checks import function_of, number
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.judging.arms import Steering
from xalign.model.operators import OperatorLike
from xalign.model.positions import Positions, check_positions
from xalign.pairs.parallel import ParallelPairs

Fit = Callable[[nn.Module, PreTrainedTokenizerBase, ParallelPairs], Steering]


@dataclass(frozen=True, slots=True)
class Contestant:
    """A way to steer, as the bench compares it.

    Attributes:
        name: What tables call it.
        fit: (model, tokenizer, pairs) -> units, or language -> vector or intervention. It sees the pairs to
            find with and no others.
        strengths: The strengths to try; the best for each language is chosen on pairs that are not judged.
        positions: The positions to try, each as in `steer`; with None, what `steer` does by default.
        operator: As in `steer`.
        has_shuffled: Whether finding it under shuffled languages is a meaningful control.

    Raises:
        ArgumentError: Nothing to try.
        ArgumentTypeError: A name that is not text, or a `fit` that is no function.
    """

    name: str
    fit: Fit
    strengths: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    positions: tuple[Positions | None, ...] = ("prompt", "all")
    operator: OperatorLike | None = None
    has_shuffled: bool = True

    def __post_init__(self) -> None:
        """Check types."""
        if not isinstance(self.name, str) or not self.name:
            raise ArgumentTypeError(f"name={self.name!r:.60} must be text, like 'expert_ap'")
        function_of("fit", self.fit, "model", "tokenizer", "pairs")
        for strength in self.strengths:
            number("strengths", strength)
        for one in self.positions:
            if one is not None:
                check_positions(one)
        if not self.strengths or not self.positions:
            raise ArgumentError(f"contestant {self.name!r} has no strengths or no positions to try")

    @property
    def ways(self) -> list[Mapping[str, Any]]:
        """The arguments of `steer` to try."""
        return [
            {"strength": strength, "positions": positions, "operator": self.operator}
            for positions, strength in itertools.product(self.positions, self.strengths)
        ]
