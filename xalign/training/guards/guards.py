"""`Guards`: the guards that are on, with their weights, and the start that they compare with."""

from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from xalign.errors import ModelError
from xalign.losses.loss import Loss
from xalign.model.distributed import is_sharded
from xalign.model.wrapped import unwrapped
from xalign.training.config import AlignmentConfig
from xalign.training.guards.kl import kl
from xalign.training.guards.l2_sp import L2SP
from xalign.training.guards.pivot_drift import pivot_drift
from xalign.training.guards.start import Start
from xalign.training.pair_forward import PairStates

Found = dict[str, Float[Tensor, ""]]
"""Name of a guard -> its value, without its weight."""


class Guards:
    """What holds a model near its start while it is aligned.

    Args:
        config: The weights of the guards; 0 switches one off.
        loss: The alignment loss, which may need the start too.
        model: The model, before its first step.

    Attributes:
        start: The model before training, if anything needs it.

    Raises:
        ModelError: As in `Start`.
    """

    def __init__(self, config: AlignmentConfig, loss: Loss, model: nn.Module) -> None:
        self._weights = {"kl": config.kl, "pivot_drift": config.pivot_drift, "l2_sp": config.l2_sp}
        wanted = [f"{name}={self._weights[name]:g}" for name in ("kl", "pivot_drift") if self._weights[name]]
        wanted += [f"loss={loss.name!r}"] if loss.needs_start else []
        self.start = Start(model, config.start, " and ".join(wanted)) if wanted else None
        self._l2_sp = L2SP(model) if config.l2_sp else None

    @property
    def is_on(self) -> bool:
        """Whether any guard has a weight."""
        return any(self._weights.values())

    def refuse_sharded(self, model: nn.Module) -> None:
        """Refuse guards, and losses that need the start, if weights are sharded.

        Some weights are whole within a step, so that the gradients of micro-batches are not added up.

        Raises:
            ModelError: A guard that is on, and FSDP2.
        """
        if (self.is_on or self.start is not None) and is_sharded(model):
            raise ModelError(
                "kl, pivot_drift, l2_sp and losses that ask where the pivot was are not for sharded models "
                "(FSDP2): train under DDP, or hold the model by replay= and detach_pivot=True"
            )

    def of_weights(self, model: nn.Module) -> Found:
        """Return the values of the guards on the weights."""
        return {} if self._l2_sp is None else {"l2_sp": self._l2_sp(model)}

    def of_documents(
        self,
        model: nn.Module,
        documents: Mapping[str, Tensor],
        logits: Float[Tensor, "document token vocabulary"],
    ) -> Found:
        """Return the values of the guards on replayed documents, which also run in the model as it was.

        Args:
            model: The model as it is wrapped now.
            documents: Ids, mask and labels.
            logits: The model's logits for them now.
        """
        if self.start is None or not self._weights["kl"]:
            return {}
        inputs = {name: values for name, values in documents.items() if name != "labels"}
        with self.start.running(model) as before:
            was = unwrapped(before)(**inputs, use_cache=False).logits
        return {"kl": kl(logits, was, documents["labels"])}

    def of_pairs(self, states: PairStates, start: PairStates | None, weights: Iterable[float]) -> Found:
        """Return the values of the guards on the pivot sentences of pairs.

        Args:
            states: The states of the sentences and then of their pivot sentences.
            start: The states of the pivot sentences before training.
            weights: The weight of each block.
        """
        if start is None or not self._weights["pivot_drift"]:
            return {}
        n = len(start.by_block[0])
        pivot = [values[-n:] for values in states.by_block]
        mask = None if states.mask is None else states.mask[-n:]
        return {"pivot_drift": pivot_drift(pivot, start.by_block, weights, mask, start.mask)}

    def total(self, found: Found, place: str) -> Float[Tensor, ""]:
        """Return the weighted sum of the guards' values.

        Args:
            found: The values.
            place: What is being done, for the error message.

        Raises:
            ModelError: A value that is not finite.
        """
        for name, value in found.items():
            if not bool(torch.isfinite(value)):
                raise ModelError(
                    f"the guard {name} is {value.item()} at {place}: the model has moved too far, or its "
                    "states are not finite. Lower the learning rate, or train in float32 or bfloat16"
                )
        return torch.stack([self._weights[name] * value for name, value in found.items()]).sum()
