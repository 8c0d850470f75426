"""`kl`: how far the next tokens that a model expects have moved from those of its start."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import log_softmax

_IGNORED = -100


def kl(
    logits: Float[Tensor, "document token vocabulary"],
    start: Float[Tensor, "document token vocabulary"],
    labels: Int[Tensor, "document token"],
) -> Float[Tensor, ""]:
    """Compute the mean over predicted tokens of KL(start ‖ now), in nats.

    It is 0 if both predict the same, and has no upper bound. A token that the start predicts and the model no
    longer does costs most. Only `logits` get a gradient.

    Args:
        logits: Of the model now; those at a token predict the next one.
        start: Of the model before training.
        labels: The tokens; those marked −100 are not predicted.

    Reference:
        Li and Hoiem (2016), *Learning without Forgetting*, in the form of Hinton et al. (2015) with
        temperature 1.

    Example:
        >>> logits = torch.randn(1, 3, 5)
        >>> kl(logits, logits, torch.tensor([[0, 1, 2]])).item()
        0.0
    """
    predicted = labels[:, 1:] != _IGNORED
    now, before = (_log_shares(one[:, :-1][predicted]) for one in (logits, start.detach()))
    return (before.exp() * (before - now)).sum(dim=1).mean()


def _log_shares(logits: Float[Tensor, "token vocabulary"]) -> Float[Tensor, "token vocabulary"]:
    return log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), dim=1)
