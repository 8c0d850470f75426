"""`freeze_norm`: a final norm with the variance of one state, which makes it an affine map."""

import copy
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from xalign.errors import ModelError

_LARGE = 1e4  # beside such values no ε of a norm counts
_ERROR = 1e-3


@dataclass(frozen=True, slots=True)
class FrozenNorm:
    """A layer norm or RMS norm whose variance does not follow its input.

    Attributes:
        gain: The weight divided by the standard deviation, or root mean square, that was frozen.
        bias: What is added.
        is_centred: Whether the mean of each state is subtracted first, as a layer norm does.
    """

    gain: Float[Tensor, " width"]
    bias: Float[Tensor, " width"]
    is_centred: bool

    def __call__(self, states: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
        """Normalise states with the frozen variance."""
        return self.scaled(states) + self.bias

    def scaled(self, states: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
        """Return what the norm makes of something added to a state: the same map without the bias."""
        return _centred(states, self.is_centred) * self.gain


def freeze_norm(norm: nn.Module, state: Float[Tensor, " width"]) -> FrozenNorm:
    """Return a norm with the variance that it has at one state.

    The module is probed: its output for zero is its bias, a state with a constant added shows whether it
    centres, and a state of large values shows its weight.

    Args:
        norm: A layer norm or RMS norm.
        state: The state; its variance is kept.

    Returns:
        An affine map that gives at the state what the norm gives.

    Raises:
        ModelError: A module that is neither.

    Example:
        >>> norm = torch.nn.LayerNorm(4)
        >>> state = torch.tensor([1.0, 2.0, 3.0, 4.0])
        >>> torch.allclose(freeze_norm(norm, state)(state).float(), norm(state), atol=1e-5)
        True
    """
    wide = copy.deepcopy(norm).double()
    state = state.double()
    made, bias = _run(wide, state), _run(wide, torch.zeros_like(state))
    is_centred = bool((_run(wide, state + state.norm()) - made).norm() < _ERROR * (1 + made.norm()))
    gain = _weight(wide, bias, is_centred)
    centred = _centred(state, is_centred)
    scaled = gain * centred
    factor = (scaled @ (made - bias)) / (scaled @ scaled)
    frozen = FrozenNorm(gain * factor, bias, is_centred)
    if not bool((frozen(state) - made).norm() <= _ERROR * made.norm()):
        raise ModelError(
            f"{type(norm).__name__} is neither a layer norm nor an RMS norm, so that its variance cannot be "
            "kept"
        )
    return frozen


def _weight(norm: nn.Module, bias: Tensor, is_centred: bool) -> Float[Tensor, " width"]:
    """Return by what a norm multiplies what it has normalised."""
    at = torch.arange(len(bias), dtype=torch.float64, device=bias.device)
    # Values of either sign, none of them near 0 or near the mean.
    probe = _centred(_LARGE * (1 + at / len(bias)) * torch.where(at % 2 == 0, 1.0, -1.0), is_centred)
    return (_run(norm, probe) - bias) * probe.square().mean().sqrt() / probe


def _run(norm: nn.Module, state: Tensor) -> Float[Tensor, " width"]:
    made: Tensor = norm(state.reshape(1, 1, -1))
    return made.reshape(-1).double()


def _centred(states: Tensor, is_centred: bool) -> Tensor:
    return states - states.mean(dim=-1, keepdim=True) if is_centred else states
