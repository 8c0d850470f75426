"""Jackknife: a value per pair for a number of a whole language, namely what each pair adds to it."""

from jaxtyping import Float
from torch import Tensor


def jackknife_values(whole: Float[Tensor, ""], without: Float[Tensor, " pair"]) -> Float[Tensor, " pair"]:
    """Return θ + (n − 1) (mean_j θ₋ⱼ − θ₋ᵢ) per pair, where θ₋ᵢ is the number without pair i.

    Their mean is θ, and the standard error of that mean is the jackknife's standard error of θ. So intervals
    and paired comparisons over sentences hold for numbers such as CKA, which no sentence has by itself. The
    values may lie outside the bounds of θ.

    Args:
        whole: The number, from all pairs.
        without: The number from all pairs but one, for each of them.

    Reference:
        Tukey (1958); Efron and Tibshirani (1993), An Introduction to the Bootstrap, §11.

    Example:
        >>> values = torch.tensor([1.0, 2.0, 6.0])
        >>> jackknife_values(values.mean(), (values.sum() - values) / 2)  # of a mean: the values themselves
        tensor([1., 2., 6.])
    """
    return whole + (len(without) - 1) * (without.mean() - without)
