"""`AlignmentStep`: what one call of an objective saw."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from xalign.losses.similarity import InBatch


@dataclass(frozen=True, slots=True)
class AlignmentStep:
    """What one call of an objective saw, for logs; detached, on the model's device.

    Attributes:
        loss: The alignment loss, without its weight; None where no pairs were run.
        in_batch: Accuracy and cosines per pair, mean over the layers; None where no pairs were run. For a
            token loss, they are those of the mean over each sentence's tokens.
        codes: Per pair, its language.
        replay_loss: The language-modelling loss of the replayed text, if any.
        guards: The value of each guard that is on, without its weight.
    """

    loss: Float[Tensor, ""] | None
    in_batch: InBatch | None
    codes: list[str]
    replay_loss: Float[Tensor, ""] | None
    guards: Mapping[str, Float[Tensor, ""]] = field(default_factory=dict)
