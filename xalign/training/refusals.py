"""What cannot be trained with, or would silently learn nothing: found out before the first step."""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn

from xalign.control.decision import Decision
from xalign.errors import ArgumentError, ModelError, PairsError
from xalign.losses.loss import Loss
from xalign.model.run import is_pair
from xalign.model.wrapped import has_adapter, unwrapped
from xalign.pairs.parallel import ParallelPairs
from xalign.training.config import AlignmentConfig
from xalign.warn import warn


def refuse_foreign(decision: Decision, languages: Collection[str], n_layers: int) -> None:
    """Refuse a decision that names what a run does not have, such as one of another run.

    Args:
        decision: The decision.
        languages: The languages that are trained on.
        n_layers: The number of blocks of the model.

    Raises:
        ArgumentError: Another language, or a block that is not there.
    """
    unknown = sorted(set(decision.shares) - set(languages))
    if unknown:
        raise ArgumentError(
            f"the decision of step {decision.step} gives pairs to {', '.join(unknown)}, and this run trains "
            f"on {', '.join(sorted(languages))}: it is of another run"
        )
    missing = [block for block in decision.layers if not 0 <= block < n_layers]
    if missing:
        raise ArgumentError(
            f"the decision of step {decision.step} aligns block {missing[0]}, and this model has blocks 0 to "
            f"{n_layers - 1}: it is of another run"
        )


def refuse_own_order(config: AlignmentConfig) -> None:
    """Refuse a controller for an objective that does not draw its pairs as a controller decides.

    Raises:
        ArgumentError: Epochs, or partners that are not the pivot.
    """
    for name in ("epochs", "partners"):
        if getattr(config, name) != getattr(AlignmentConfig, name):
            raise ArgumentError(
                f"{name}={getattr(config, name)!r} does not go with a controller, which decides how many "
                "pairs of which language are drawn beside the pivot; leave it out"
            )


def refuse_overlap(training: ParallelPairs, measured: ParallelPairs, what: str = "training") -> None:
    """Raise an error where training or control pairs share a sentence with pairs to measure on.

    Args:
        training: The pairs that are trained on, or that decisions are based on.
        measured: The pairs that are measured on.
        what: What the message calls `training`.

    Raises:
        PairsError: A sentence that is in both.
    """
    shared = training.overlap(measured)
    if shared:
        counts = ", ".join(f"{language} {len(texts)}" for language, texts in shared.items())
        raise PairsError(
            f"the {what} pairs hold sentences that are measured too ({counts}): a score on "
            f"them says nothing. Take others for one of the two; {what}.overlap(measured) lists them"
        )


def refuse_small_groups(batch_size: int, languages_per_batch: int) -> None:
    """Raise an error if a batch may hold a single pair of a language, which centring reduces to nothing.

    Raises:
        ArgumentError: Fewer than 2 pairs of a language.
    """
    if batch_size // languages_per_batch < 2:
        raise ArgumentError(
            f"batch_size={batch_size} over {languages_per_batch} languages leaves one pair of some, and "
            "centre=True subtracts their mean: raise batch_size, lower languages_per_batch, or pass "
            "centre=False"
        )


def refuse_reentrant(model: nn.Module) -> None:
    """Raise an error where gradient checkpointing is reentrant.

    Raises:
        ModelError: Reentrant checkpointing, inside which states have no gradient.
    """
    for module in model.modules():
        run_again = getattr(module, "_gradient_checkpointing_func", None)
        is_reentrant = getattr(run_again, "keywords", {}).get("use_reentrant")
        if getattr(module, "gradient_checkpointing", False) and is_reentrant:
            raise ModelError(
                "the model uses reentrant gradient checkpointing, inside which states have no gradient, "
                "so that the alignment loss would silently do nothing; pass "
                "gradient_checkpointing_kwargs={'use_reentrant': False}"
            )


def refuse_no_adapter(model: nn.Module) -> None:
    """Raise an error for a model without adapters that can be switched off."""
    if not has_adapter(unwrapped(model)):
        raise ModelError(
            "frozen_pivot=True runs pivot sentences with the adapters off, and the model has none: add one "
            "with PEFT, or take detach_pivot=True"
        )


def refuse_no_language_model(model: nn.Module) -> None:
    """Raise an error where a model has no language-modelling loss to replay.

    Raises:
        ModelError: Not a causal language model.
    """
    if not is_language_model(model):
        name = type(unwrapped(model)).__name__
        raise ModelError(f"replay needs a causal language model, and {name} is not one; leave replay out")


def is_language_model(model: nn.Module) -> bool:
    """Return whether a model is a causal language model, which has a loss of text alone."""
    return bool(getattr(unwrapped(model), "can_generate", lambda: False)()) and not is_pair(model)


def gradient_reaches(values: Tensor, parameters: Sequence[nn.Parameter]) -> bool:
    """Tell whether a gradient flows from some values to a parameter.

    That values require a gradient does not suffice: trainers make the embedded input require one.
    """
    if not values.requires_grad or not parameters:
        return False
    found = torch.autograd.grad(values.sum(), parameters, allow_unused=True, retain_graph=True)
    return any(gradient is not None for gradient in found)


def warn_of_untrained_loss(loss: Loss) -> None:
    """Warn of a loss with parameters of its own: a trainer's optimizer has only those of the model."""
    fn = loss.fn
    if isinstance(fn, nn.Module) and any(parameter.requires_grad for parameter in fn.parameters()):
        warn(
            f"loss {loss.name!r} has parameters of its own, which the trainer's optimizer does not train. "
            "Make it a submodule of the model, or use AlignmentObjective in a loop whose optimizer has them. "
            "To keep them as they are, call requires_grad_(False)"
        )
