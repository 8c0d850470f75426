"""`batch_cost`: what a forward costs beside its tokens."""

from collections.abc import Mapping

from torch import nn

from xalign.model.placement import device_of
from xalign.model.wrapped import text_config_of

_ALWAYS = 16
"""Tokens that take as long to compute as the weights to be read from memory."""
_WEIGHTS = 25_000_000
"""Weights of a block whose product with a token takes as long as the block's calls and hooks."""
_LEAST = 30_000
"""Weights whose product with a token takes as long as the rest of what a block does with it."""


def batch_cost(model: nn.Module) -> int | None:
    """Estimate what a forward costs on a CPU beside its tokens, in tokens.

    Sentences of unlike length are padded in one forward, or take several; this number says which is cheaper.
    A forward of small blocks is mostly calls and hooks, one of large blocks mostly reading their weights. The
    constants were fitted to forwards, and to forwards with backward, of four models on one thread:

        width                   32      128     384     576
        measured, forward       580     140     43      30
        … and backward          710     110     72      37
        estimated               607     126     30      22

    The optimum is flat, so the estimate is on the low side: smaller forwards take less memory. It asks the
    config alone. So adapters do not change it, and a model with and without them gets the same batches.

    Args:
        model: The model. A block of width d is taken to have 12 · d² weights.

    Returns:
        The number of tokens; None where the model is on another device, on which starting a forward costs
        more than padding, so that as many sentences as fit should run together.

    Raises:
        ModelError: No weight has values.

    Example:
        >>> batch_cost(model)
        607
    """
    if device_of(model).type != "cpu":
        return None
    width = getattr(text_config_of(model), "hidden_size", None)
    weights = 12 * width**2 if isinstance(width, int) else 0
    return round(_ALWAYS + _WEIGHTS / (weights + _LEAST))


def with_batch_cost(model: nn.Module, limits: Mapping[str, int | None]) -> dict[str, int | None]:
    """Return limits of batches; those with a token budget get the model's `batch_cost` if they name none."""
    if limits.get("token_budget") is None or limits.get("per_batch") is not None:
        return dict(limits)
    return {**limits, "per_batch": batch_cost(model)}
