"""The association of two sets of targets with two sets of attributes: WEAT's effect size, on any vectors."""

import torch
from jaxtyping import Float
from torch import Tensor

from xalign.errors import ArgumentError


def associations(
    targets: Float[Tensor, "target width"], a: Float[Tensor, "_ width"], b: Float[Tensor, "_ width"]
) -> Float[Tensor, " target"]:
    """Return how much nearer each target is to the attributes A than to B.

    s(w, A, B) is the mean cosine of w with the vectors of A, less its mean cosine with those of B.

    Args:
        targets: The vectors w, a row each.
        a: The vectors of one attribute.
        b: The vectors of the other; there may be another number of them.

    Returns:
        A value per target, in [−2, 2], in float64.

    Raises:
        ArgumentError: An empty set, values that are not finite, or a vector of zeros, which has no direction.

    Reference:
        Caliskan, Bryson and Narayanan (2017), Semantics derived automatically from language corpora contain
        human-like biases, Science 356, supplement.

    Example:
        >>> east, north = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
        >>> associations(torch.tensor([[2.0, 0.0], [1.0, 1.0]]), east, north)
        tensor([1., 0.], dtype=torch.float64)
    """
    target, first, second = (
        _directions(name, values) for name, values in (("targets", targets), ("a", a), ("b", b))
    )
    found: Tensor = (target @ first.T).mean(dim=1) - (target @ second.T).mean(dim=1)
    return found


def effect_size(x: Float[Tensor, " target"], y: Float[Tensor, " other"], *, ddof: int = 1) -> float:
    """Return the difference of the mean associations of two sets of targets, in standard deviations.

    d = (mean of x − mean of y) / standard deviation over all of x and y together.

    Args:
        x: The associations of the targets X, as `associations` returns them.
        y: Those of the targets Y.
        ddof: 1 for the unbiased deviation, as in the published code of SEAT; 0 divides by the number itself.

    Returns:
        The effect size. Above 0, X goes with A and Y with B. With as many targets on both sides it lies in
        [−2, 2] for ddof=0, and a little further inside for ddof=1.

    Raises:
        ArgumentError: Fewer than 2 targets in all, none on one side, or associations that are all equal.

    Reference:
        Caliskan et al. (2017), supplement; May et al. (2019), On Measuring Social Biases in Sentence
        Encoders, NAACL, §2, which takes the same formula to sentences.

    Example:
        >>> x, y = torch.tensor([0.5, 0.3], dtype=torch.float64), torch.tensor([-0.1, 0.1]).double()
        >>> round(effect_size(x, y, ddof=0), 4)  # (0.4 − 0) / 0.2236
        1.7889
    """
    both = torch.cat([x, y]).double()
    if not len(x) or not len(y):
        raise ArgumentError(f"x has {len(x)} targets and y has {len(y)}; give at least one of each")
    if ddof not in (0, 1):
        raise ArgumentError(f"ddof={ddof!r:.60} must be 0 or 1")
    if not bool(both.isfinite().all()):
        raise ArgumentError("x or y holds NaN or infinity")
    spread = float(both.std(correction=ddof))
    if spread <= 1e-12:
        raise ArgumentError(
            "all targets have the same association, so that there is no spread to divide by; give targets "
            "that differ"
        )
    return float(x.double().mean() - y.double().mean()) / spread


def _directions(name: str, values: Tensor) -> Tensor:
    """Return vectors divided by their norms, in float64."""
    wide = values.double()
    if not len(wide) or not bool(wide.isfinite().all()):
        raise ArgumentError(f"{name} is empty, or holds NaN or infinity")
    norms = wide.norm(dim=1, keepdim=True)
    if not bool((norms > 0).all()):
        raise ArgumentError(f"{name} has a vector of zeros, which has no direction")
    directions: Tensor = wide / norms
    return directions
