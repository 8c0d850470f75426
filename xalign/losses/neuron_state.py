"""Neuron-state loss: the same feed-forward neurons fire for a sentence and its translation."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from xalign.checks import positive
from xalign.errors import ArgumentError
from xalign.losses.contrastive import Direction, contrastive
from xalign.losses.loss import Loss

SHARPNESS = 4.0


def smooth_state(
    gate: Float[Tensor, "*shape neuron"], *, sharpness: float = SHARPNESS
) -> Float[Tensor, "*shape neuron"]:
    """Compute the smooth neuron activation state σ(k · gate); for k → ∞ it is the 0 or 1 that NASCA counts.

    Args:
        gate: The gate's values before the activation function, per token.
        sharpness: k > 0. The gradient at a gate is at most k / 4 of the gradient at its state.

    Raises:
        ArgumentError: k ≤ 0, or not finite.
        ArgumentTypeError: k is not a number.

    Example:
        >>> smooth_state(torch.tensor([-100.0, 0.0, 100.0])).tolist()
        [0.0, 0.5, 1.0]
    """
    sharpness = positive("sharpness", sharpness)
    return torch.sigmoid(sharpness * gate.to(torch.promote_types(gate.dtype, torch.float32)))


def neuron_state(
    language: Float[Tensor, "pair neuron"],
    pivot: Float[Tensor, "pair neuron"],
    *,
    temperature: float = 0.1,
    direction: Direction = "both",
    languages: Int[Tensor, " pair"] | None = None,
    same: Int[Tensor, "pair *mark"] | None = None,
    detach_pivot: bool = False,
    gather: bool = False,
) -> Float[Tensor, ""]:
    """Compute the contrastive loss of pooled smooth neuron states, the states that NASCA measures.

    Neuron states are shares in [0, 1] and far from 0 on average, so uncentred cosines of any two sentences
    are close to 1; give `languages`, as the objective does.

    Bounds: those of `xalign.losses.contrastive`.

    Collapse: as in `contrastive`, a single point is not a minimum. Gates can grow until σ is flat and passes
    no gradient; the states are then as hard as the measured ones, and the loss can do no more. Neurons that
    tell one language from another may stop firing; replayed text helps against that.

    Args:
        language: `smooth_state` pooled over the tokens of each sentence, one coordinate per neuron.
        pivot: The same for each pivot sentence; row i translates row i.
        temperature: As in `contrastive`, like all arguments below.
        direction: Which side picks its translation among candidates of the other.
        languages: A number per pair, equal within a language, for centring.
        same: A number per pair, or several, equal for pairs with the same meaning.
        detach_pivot: Give the pivot side no gradient.
        gather: Take candidates from all processes.

    Raises:
        ArgumentError: States outside [0, 1], or as in `contrastive`.

    Reference:
        This project; the state is that of Huang et al. (2025), NeuronXA, made smooth.

    Example:
        >>> states = smooth_state(torch.randn(8, 64))
        >>> neuron_state(states, states, languages=torch.zeros(8, dtype=torch.long)).item() < 0.1
        True
    """
    for name, states in (("language", language), ("pivot", pivot)):
        if bool(((states < 0) | (states > 1 + 1e-5)).any()):
            raise ArgumentError(f"{name} must hold pooled smooth states, between 0 and 1; see smooth_state")
    return contrastive(
        language,
        pivot,
        temperature=temperature,
        direction=direction,
        languages=languages,
        same=same,
        detach_pivot=detach_pivot,
        gather=gather,
    )


NEURON_STATE = Loss(
    "neuron_state",
    neuron_state,
    kinds=("gate",),
    state=smooth_state,
    pool="weighted",
    needs_negatives=True,
    needs_shares=True,
)
