"""Vectors as directions, with bounded gradients: vectors without a direction get no gradient."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from xalign.checks import positive
from xalign.errors import ArgumentError

SHORTEST = 1e-12
"""Vectors of at most this length have no direction."""
LOWEST_TEMPERATURE = 1e-4
"""Below this temperature, the rounding of float32 cosines, about 1e-7, decides which sentence is nearest."""


def checked_temperature(value: object) -> float:
    """Return a temperature that is not too low, or raise an error.

    Raises:
        ArgumentError: Below `LOWEST_TEMPERATURE`, or not finite.
        ArgumentTypeError: Not a number.
    """
    temperature = positive("temperature", value)
    if temperature < LOWEST_TEMPERATURE:
        raise ArgumentError(
            f"temperature={value!r} must be at least {LOWEST_TEMPERATURE:g}: below, the rounding of cosines "
            "decides which sentence is nearest; common values are .05 and .1"
        )
    return temperature


def shortest_of(*sides: Tensor, temperature: float = 1.0) -> float:
    """Return the length up to which vectors have no direction, for gradients that their dtype can hold.

    The gradient of a vector of length r is at most 2 / (temperature · r). In float16, whose largest number is
    65504, it would overflow for a short vector.
    """
    largest = min(torch.finfo(side.dtype).max for side in sides)
    return max(SHORTEST, 2 / (temperature * largest))


def directions(
    vectors: Float[Tensor, "row width"], shortest: float | Float[Tensor, ""] = SHORTEST
) -> Float[Tensor, "row width"]:
    """Scale each vector to length 1. A vector that is too short becomes 0 and gets the gradient 0.

    The gradient of any other vector is divided by its length. Very long vectors do not overflow.

    Args:
        vectors: The vectors.
        shortest: The largest length of a vector without a direction.
    """
    # A power of two changes exponents only, and no digit.
    size = power_of_two(vectors.detach().abs().amax(dim=1, keepdim=True))
    scaled = vectors / size
    length = scaled.norm(dim=1, keepdim=True)
    # Not `length > shortest`, which would turn NaN into 0 and hide it.
    without = length.detach() <= shortest / size
    units: Tensor = scaled.masked_fill(without, 0.0) / length.masked_fill(without, 1.0)
    return units


def centred_directions(
    vectors: Float[Tensor, "row width"],
    groups: Int[Tensor, " row"] | None = None,
    extra: Float[Tensor, "extra width"] | None = None,
    shortest: float = SHORTEST,
) -> Float[Tensor, "_ width"]:
    """Subtract from each vector the mean of its group, and scale what is left to length 1.

    The mean mostly encodes the language. What is left of equal vectors is the rounding of their mean: it has
    no direction, becomes 0, and gets the gradient 0.

    Args:
        vectors: One per sentence.
        groups: A number per sentence, equal for sentences of one language; all are one group if None.
        extra: Further vectors of the same group, which do not count in its mean. They come after the others
            in the result.
        shortest: As in `directions`.

    Raises:
        ArgumentError: A group of one sentence, of which nothing would remain.
    """
    together = vectors if extra is None else torch.cat([vectors, extra])
    size = power_of_two(together.detach().abs().amax())
    scaled = together / size  # sums of it do not overflow
    if groups is None:
        means, largest_group = scaled[: len(vectors)].mean(dim=0), len(vectors)
    else:
        means, largest_group = _means(scaled, groups)
    left = scaled - means
    rounding = largest_group * torch.finfo(left.dtype).eps * scaled.detach().norm(dim=1).amax()
    return directions(left, torch.clamp(rounding, min=shortest / size))


def _means(
    vectors: Float[Tensor, "row width"], groups: Int[Tensor, " row"]
) -> tuple[Float[Tensor, "row width"], int]:
    """Return per vector the mean of its group, and the number of vectors of the largest group."""
    numbers, of, sizes = torch.unique(groups, return_inverse=True, return_counts=True)
    if bool((sizes < 2).any()):
        raise ArgumentError(
            f"languages has one pair of language {int(numbers[sizes < 2][0])}; centring needs at least 2 "
            "pairs of each language in a batch"
        )
    sums = vectors.new_zeros(len(numbers), vectors.shape[1]).index_add(0, of, vectors)
    return (sums / sizes.unsqueeze(1))[of], int(sizes.max())


def power_of_two(largest: Tensor) -> Tensor:
    """Return the power of two next to some numbers, so far as a division by it stays in range."""
    highest = math.frexp(torch.finfo(largest.dtype).max)[1] - 2
    exponent = torch.frexp(largest).exponent.clamp(-60, highest)
    return torch.ldexp(torch.ones_like(largest), exponent)
