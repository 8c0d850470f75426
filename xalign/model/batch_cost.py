"""`batch_cost`: what a forward costs beside its tokens."""

from collections.abc import Mapping

from torch import nn

from xalign.model.placement import device_of

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

        weights of a block      16 thousand     247 thousand    1.8 million     3.5 million
        measured, forward       580             140             43              30
        … and backward          710             110             72              37
        estimated               560             106             30              23

    The optimum is flat, so the estimate is on the low side: smaller forwards take less memory.

    Args:
        model: The model. Its blocks are taken to be its largest list of modules.

    Returns:
        The number of tokens; None where the model is on another device, on which starting a forward costs
        more than padding, so that as many sentences as fit should run together.

    Raises:
        ModelError: No weight has values.

    Example:
        >>> batch_cost(model)
        665
    """
    if device_of(model).type != "cpu":
        return None
    lists = (one for one in model.modules() if isinstance(one, nn.ModuleList) and len(one))
    weights, blocks = max(((_weights(one), len(one)) for one in lists), default=(_weights(model), 1))
    return round(_ALWAYS + _WEIGHTS / (weights / blocks + _LEAST))


def with_batch_cost(model: nn.Module, limits: Mapping[str, int | None]) -> dict[str, int | None]:
    """Return limits of batches; those with a token budget get the model's `batch_cost` if they name none."""
    if limits.get("token_budget") is None or limits.get("per_batch") is not None:
        return dict(limits)
    return {**limits, "per_batch": batch_cost(model)}


def _weights(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
