"""`fit_autoencoder`: a joint space of several languages, learnt from the states of translations."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from xalign.checks import positive, whole_number
from xalign.errors import ArgumentError
from xalign.steering.interventions.autoencoder import WEIGHTS, Autoencoder

_TRAINED = WEIGHTS[2:]
_EVERY = 50  # steps between two looks at whether the loss is still a number


@dataclass(frozen=True, kw_only=True)
class AutoencoderOptions:
    """How an autoencoder is fitted.

    Attributes:
        latent: The width of the latent space; half of the states' width if None.
        hidden: The width inside the decoder; twice the states' width if None.
        joint: β, the weight of ‖E(a) − E(b)‖² of translations, as a share of the variance of both.
        cross: The weight of ‖b − D(E(a))‖², the reconstruction of a translation; 0 leaves it out.
        steps: Steps of Adam.
        batch_size: Translation pairs per step.
        learning_rate: The initial learning rate; it falls to 0 along a cosine.
        seed: Seed of the weights and the batches.
    """

    latent: int | None = None
    hidden: int | None = None
    joint: float = 0.1
    cross: float = 0.0
    steps: int = 2000
    batch_size: int = 128
    learning_rate: float = 2e-3
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("latent", "hidden"):
            if getattr(self, name) is not None:
                whole_number(name, getattr(self, name), least=1)
        for name, least in (("steps", 1), ("batch_size", 2), ("seed", 0)):
            whole_number(name, getattr(self, name), least)
        for name in ("joint", "cross"):
            positive(name, getattr(self, name), zero=True)
        positive("learning_rate", self.learning_rate)

    def to_dict(self) -> dict[str, Any]:
        """Return the options by name."""
        return asdict(self)


def fit_autoencoder(
    states: Mapping[str, Float[Tensor, "pair width"]], options: AutoencoderOptions | None = None
) -> Autoencoder:
    """Fit an autoencoder that reconstructs the states of all languages and brings translations together.

    The loss of translations a and b in two languages drawn at random is the mean of ‖x − D(E(x))‖² over
    both, plus β ‖E(a) − E(b)‖², plus a weight times ‖b − D(E(a))‖² and the same the other way round. Squared
    errors of states are divided by the variance of the states, and distances of latents by the variance of
    the latents: without that, a small encoder and a large decoder would satisfy the joint term.

    Args:
        states: Language -> states, row by row translations of one another; at least two languages.
        options: How to fit it; the defaults if None.

    Returns:
        The autoencoder, in float32.

    Raises:
        ArgumentError: Fewer than two languages, languages that differ in shape, states that are not finite or
            all equal, fewer sentences than their width or fewer meanings than the latent space has
            dimensions, or a loss that diverges.

    Reference:
        Peng, Hu, Chai and Søgaard (2025), Debiasing Multilingual LLMs in Cross-lingual Latent Space, EMNLP,
        learn such a space from parallel text. They published no code; this is our reconstruction.

    Example:
        >>> english = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
        >>> sides = {"eng_Latn": english, "deu_Latn": 0.1 + english}
        >>> found = fit_autoencoder(sides, AutoencoderOptions(latent=8, hidden=64, steps=300))
        >>> found.explained_variance(english) > 0.9
        True
    """
    options = options or AutoencoderOptions()
    stacked = _stacked(states)
    languages, _, width = stacked.shape
    latent = options.latent or max(1, width // 2)
    _check_enough(stacked, latent)
    generator = torch.Generator().manual_seed(options.seed)
    mean = stacked.reshape(-1, width).mean(dim=0)
    scale = (stacked - mean).square().mean().sqrt()
    if not float(scale) > 0:
        raise ArgumentError("states are all equal, so that there is nothing to reconstruct")
    given = (stacked - mean) / scale
    weights = _first_weights(given.reshape(-1, width), latent, options.hidden or 2 * width, generator)
    _train(given, weights, list(combinations(range(languages), 2)), options, generator)
    found = Autoencoder(mean, scale, *(weights[name].detach() for name in _TRAINED))
    explained = found.explained_variance(stacked.reshape(-1, width))
    if explained <= 0:
        raise ArgumentError(
            f"the autoencoder diverged: it explains {explained:.3g} of the variance of its own text, less "
            f"than a constant; lower learning_rate={options.learning_rate:g}"
        )
    return found


def _stacked(states: Mapping[str, Tensor]) -> Float[Tensor, "language pair width"]:
    """Return the states of all languages in one tensor, checked."""
    if not isinstance(states, Mapping) or len(states) < 2:
        raise ArgumentError("states must map at least two languages to tensors [pair, width]")
    shapes = {code: tuple(values.shape) for code, values in states.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 2 for shape in shapes.values()):
        raise ArgumentError(f"states have shapes {shapes}; give one row per translation in every language")
    stacked = torch.stack([values.float() for values in states.values()])
    if not bool(stacked.isfinite().all()):
        raise ArgumentError("states hold NaN or infinity")
    return stacked


def _check_enough(stacked: Float[Tensor, "language pair width"], latent: int) -> None:
    """Refuse a space that has more dimensions than there are sentences to learn it from."""
    languages, pairs, width = stacked.shape
    if latent > width:
        raise ArgumentError(f"latent={latent} must be at most {width}, the width of the states")
    if pairs < latent:
        raise ArgumentError(
            f"the latent space has width {latent} and there are {pairs} translated sentences to learn it "
            f"from: give at least {latent - pairs} more, or a smaller latent="
        )
    if languages * pairs < width:
        raise ArgumentError(
            f"the states have width {width} and there are {languages * pairs} of them ({pairs} sentences in "
            f"{languages} languages): give at least {-(-(width - languages * pairs) // languages)} more "
            "sentences of each"
        )


def _first_weights(
    states: Float[Tensor, "state width"], latent: int, hidden: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Return weights to begin with: the encoder finds the principal directions, the decoder is random."""
    width = states.shape[1]
    _, sizes, directions = torch.linalg.svd(states.double(), full_matrices=False)
    spread = (sizes[:latent] / len(states) ** 0.5).clamp_min(1e-6).unsqueeze(1)
    drawn = {
        "encoder": (directions[:latent] / spread.clamp_min(float(spread.max()) * 1e-2)).float(),
        "bias": torch.zeros(latent),
        "first": torch.randn(hidden, latent, generator=generator) / latent**0.5,
        "first_bias": torch.zeros(hidden),
        "second": torch.randn(width, hidden, generator=generator) / hidden**0.5,
        "second_bias": torch.zeros(width),
    }
    return {name: drawn[name].requires_grad_() for name in _TRAINED}


def _train(
    given: Float[Tensor, "language pair width"],
    weights: Mapping[str, Tensor],
    both: list[tuple[int, int]],
    options: AutoencoderOptions,
    generator: torch.Generator,
) -> None:
    """Change the weights so that the loss falls."""
    optimizer = torch.optim.Adam(list(weights.values()), options.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps)
    with torch.enable_grad():
        for step in range(options.steps):
            one, other = both[int(torch.randint(len(both), (), generator=generator))]
            rows = torch.randint(given.shape[1], (options.batch_size,), generator=generator)
            loss = _loss(weights, given[one, rows], given[other, rows], options)
            is_last = step == options.steps - 1
            if (step % _EVERY == 0 or is_last) and not bool(loss.isfinite()):
                raise ArgumentError(
                    f"the autoencoder diverged: its loss at step {step} is {loss.item():g}; lower "
                    f"learning_rate={options.learning_rate:g}"
                )
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()


def _loss(
    weights: Mapping[str, Tensor],
    a: Float[Tensor, "pair width"],
    b: Float[Tensor, "pair width"],
    options: AutoencoderOptions,
) -> Float[Tensor, ""]:
    """Return the loss of pairs of standardised states."""
    latents = [one @ weights["encoder"].T + weights["bias"] for one in (a, b)]
    back = [_decoded(weights, one) for one in latents]
    loss = (back[0] - a).square().mean() / 2 + (back[1] - b).square().mean() / 2
    if options.joint:
        together = torch.cat(latents)
        spread = (together - together.mean(dim=0)).square().mean()
        loss = loss + options.joint * (latents[0] - latents[1]).square().mean() / spread
    if options.cross:
        crossed = (back[0] - b).square().mean() / 2 + (back[1] - a).square().mean() / 2
        loss = loss + options.cross * crossed
    found: Tensor = loss
    return found


def _decoded(weights: Mapping[str, Tensor], latent: Tensor) -> Tensor:
    inner = torch.nn.functional.gelu(latent @ weights["first"].T + weights["first_bias"])
    return inner @ weights["second"].T + weights["second_bias"]
