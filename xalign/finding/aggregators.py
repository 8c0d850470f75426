"""Aggregators: one direction from the states of two sides; `AGGREGATORS` lists them by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import minimize
from torch import Tensor

from xalign.checks import boolean, function_of
from xalign.errors import ArgumentError, ArgumentTypeError, ModelError
from xalign.model.user_function import errors_of

AggregateFn = Callable[[Tensor, Tensor], Tensor]
"""(states of the positive side [sentence, width], states of the negative side) -> a direction [width]."""


@dataclass(frozen=True, slots=True)
class Aggregator:
    """A way to make one direction from the states of two sides.

    Attributes:
        name: What users type.
        fn: (positive [sentence, width], negative [sentence, width]) -> direction [width], in float64.
        needs_pairs: Whether row i of one side must belong to row i of the other, as translations do.
        is_unit: Whether the direction has length 1, so that its size says nothing about the states.

    Raises:
        ArgumentTypeError: A name that is not text, or an `fn` that is not a function.
    """

    name: str
    fn: AggregateFn
    needs_pairs: bool = False
    is_unit: bool = False

    def __post_init__(self) -> None:
        """Check types."""
        if not isinstance(self.name, str) or not self.name:
            raise ArgumentTypeError(f"name={self.name!r:.60} must be text, like 'mean'")
        function_of("fn", self.fn, "positive", "negative")
        for field in ("needs_pairs", "is_unit"):
            boolean(field, getattr(self, field))

    def __call__(
        self, positive: Float[Tensor, "sentence width"], negative: Float[Tensor, "other width"]
    ) -> Float[Tensor, " width"]:
        """Return the direction from the negative side to the positive one, in float64.

        Raises:
            ArgumentError: Sides of different widths, of unequal length where pairs are needed, empty ones, or
                a function of the user's that returns something else than a direction.
            ModelError: No direction comes out.

        Example:
            >>> positive, negative = torch.tensor([[2.0, 0.0], [4.0, 1.0]]), torch.tensor([[1.0, 0.0]])
            >>> AGGREGATORS["mean"](positive, negative).tolist()
            [2.0, 0.5]
        """
        shapes = tuple(positive.shape), tuple(negative.shape)
        if (
            positive.dim() != 2
            or negative.dim() != 2
            or shapes[0][1] != shapes[1][1]
            or 0 in shapes[0] + shapes[1]
        ):
            raise ArgumentError(
                "positive and negative must be [sentence, width] of one width; they are "
                f"{shapes[0]} and {shapes[1]}"
            )
        if self.needs_pairs and shapes[0] != shapes[1]:
            raise ArgumentError(
                f"aggregate={self.name!r} takes pairs, and the sides have {shapes[0][0]} and {shapes[1][0]} "
                "rows; give translations, line by line, or aggregate='mean' or 'logistic'"
            )
        with errors_of(f"aggregator {self.name!r}"):
            found = self.fn(positive.double(), negative.double())
        if not isinstance(found, Tensor) or tuple(found.shape) != shapes[0][1:]:
            raise ArgumentError(
                f"aggregator {self.name!r} must return a direction [{shapes[0][1]}], not {found!r:.60}"
            )
        if not bool(found.isfinite().all()) or not bool(found.any()):
            raise ModelError(
                f"aggregator {self.name!r} finds no direction: the two sides have the same states, or some "
                "that are not finite"
            )
        return found.double()


def mean(positive: Tensor, negative: Tensor) -> Tensor:
    """Return the mean of one side minus that of the other; for pairs, the mean of their differences."""
    return positive.mean(dim=0) - negative.mean(dim=0)


def pca(positive: Tensor, negative: Tensor) -> Tensor:
    """Return the first principal direction of the pairs' differences, which are not centred.

    Each difference is taken with both signs, so that their mean is zero without centring. The direction
    points to where the mean difference does.
    """
    differences = positive - negative
    return _signed(_first_direction(differences), differences.mean(dim=0))


def pca_diff(positive: Tensor, negative: Tensor) -> Tensor:
    """Return the first principal direction of the pairs' differences after these are centred.

    Centring takes the mean difference away, which is most often what is wanted: this is for comparison with
    repeng, whose method of this name does it. The sign is that of most pairs.
    """
    differences = positive - negative
    direction = _first_direction(differences - differences.mean(dim=0))
    higher = ((positive @ direction) > (negative @ direction)).double().mean()
    return direction if higher >= 0.5 else -direction  # noqa: PLR2004


def logistic(positive: Tensor, negative: Tensor) -> Tensor:
    """Return the direction of a logistic probe without intercept that tells the sides apart, of length 1.

    Each pair is centred on its own mean; sides of different lengths are both centred on the midpoint of their
    means. The squared weights are penalised as in scikit-learn with C = 1.
    """
    if positive.shape == negative.shape:
        middle = (positive + negative) / 2
        rows = torch.cat([positive - middle, negative - middle])
    else:
        center = (positive.mean(dim=0) + negative.mean(dim=0)) / 2
        rows = torch.cat([positive - center, negative - center])
    y = torch.cat([torch.ones(len(positive)), -torch.ones(len(negative))]).double()
    x = (rows * y.unsqueeze(1)).numpy()

    def objective(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margins = x @ weights
        slope = -1 / (1 + np.exp(np.clip(margins, -500, 500)))
        return float(weights @ weights / 2 + np.logaddexp(0, -margins).sum()), weights + slope @ x

    start = np.zeros(x.shape[1])
    options = {"maxiter": 10_000, "maxfun": 40_000, "ftol": 1e-15, "gtol": 1e-10}
    found: Tensor = torch.from_numpy(
        minimize(objective, start, jac=True, method="L-BFGS-B", options=options).x
    )
    unit: Tensor = found / found.norm()
    return unit


def _first_direction(rows: Tensor) -> Tensor:
    """Return the direction of length 1 along which the squares of rows add up to most."""
    first: Tensor = torch.linalg.svd(rows, full_matrices=False).Vh[0]
    return first


def _signed(direction: Tensor, like: Tensor) -> Tensor:
    return direction if bool(direction @ like >= 0) else -direction


MEAN = Aggregator("mean", mean)
PCA = Aggregator("pca", pca, needs_pairs=True, is_unit=True)
PCA_DIFF = Aggregator("pca_diff", pca_diff, needs_pairs=True, is_unit=True)
LOGISTIC = Aggregator("logistic", logistic, is_unit=True)

AGGREGATORS: dict[str, Aggregator] = {one.name: one for one in (MEAN, PCA, PCA_DIFF, LOGISTIC)}


def resolve_aggregator(aggregate: object, known: Mapping[str, Aggregator]) -> Aggregator:
    """Return the aggregator meant by a name, an `Aggregator`, or a function of two sides.

    Raises:
        ArgumentError: Another name, or none of these.
    """
    if isinstance(aggregate, Aggregator):
        return aggregate
    if isinstance(aggregate, str) and aggregate in known:
        return known[aggregate]
    if callable(aggregate) and not isinstance(aggregate, type):
        return Aggregator(getattr(aggregate, "__name__", type(aggregate).__name__), aggregate)
    raise ArgumentError(
        f"aggregate={aggregate!r:.60} must be one of {', '.join(known)}, an Aggregator, or a function "
        "(positive, negative) -> direction"
    )
