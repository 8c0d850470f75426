"""Language-identity probe: whether a linear classifier can tell the language of a state."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import minimize
from torch import Tensor

from xalign.checks import whole_number
from xalign.errors import ArgumentError
from xalign.metrics.centred import centred, check_states
from xalign.metrics.l2_logistic import l2_logistic
from xalign.metrics.metric import Metric

FOLDS = 5
_Fit = tuple[np.ndarray, np.ndarray]
_SPREAD = 1e-10  # directions with less of the largest variance are rounding


def probe(
    states: Float[Tensor, "sentence width"],
    labels: Int[Tensor, " sentence"],
    groups: Int[Tensor, " sentence"],
    *,
    folds: int = FOLDS,
) -> Bool[Tensor, " sentence"]:
    """Return per sentence whether a linear probe, fitted on the other folds, names its label.

    The probe is softmax regression on standardised states with ‖W‖² / 2 as penalty. Fold f holds the groups
    whose number is f modulo `folds`, so that a sentence is always in the same fold as its translations.

    Args:
        states: A row per sentence, of all languages together.
        labels: The label of each, such as its language.
        groups: The pair that each belongs to.
        folds: The number of folds.

    Returns:
        One bit per sentence. Their mean is the accuracy; without any information it is 1 / labels.

    Raises:
        ArgumentError: Fewer than two labels, fewer groups than folds, or a fold without which a label is
            missing.

    Reference:
        Libovický, Rosa and Fraser (2020), On the language neutrality of pre-trained representations.

    Example:
        >>> states = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
        >>> labels = torch.arange(2).repeat_interleave(20)
        >>> probe(states + 5 * labels[:, None], labels, torch.arange(20).repeat(2)).all().item()
        True
    """
    known, label = torch.unique(labels, return_inverse=True)
    numbers = torch.unique(groups, return_inverse=True)[1]
    if len(known) < 2 or int(numbers.max()) + 1 < whole_number("folds", folds, least=2):
        raise ArgumentError(
            f"there are {len(known)} label(s) and {int(numbers.max()) + 1} group(s); a probe needs two "
            f"labels and a group for each of {folds} folds"
        )
    coordinates = _coordinates(states)
    wanted, fold = label.numpy(force=True), (numbers % folds).numpy(force=True)
    right = np.zeros(len(wanted), dtype=bool)
    fit: _Fit | None = None
    for number in range(folds):
        held = fold == number
        if len(np.unique(wanted[~held])) < len(known):
            raise ArgumentError(
                f"without fold {number}, a label has no sentence to learn from; use more pairs"
            )
        fit = _fit(coordinates[~held], wanted[~held], len(known), fit)
        right[held] = (coordinates[held] @ fit[0] + fit[1]).argmax(axis=1) == wanted[held]
    return torch.from_numpy(right).to(states.device)


def language_probe(
    pivot: Float[Tensor, "pair width"], other: Float[Tensor, "pair width"]
) -> Float[Tensor, " pair"]:
    """Return per pair the share of its two sentences whose language the probe names: 0, ½ or 1.

    Chance is ½. A layer can align sentences well and still keep the languages apart by one direction.

    Raises:
        ArgumentError: Sides of different length, or fewer than 5 pairs.

    Example:
        >>> states = torch.randn(10, 4, generator=torch.Generator().manual_seed(0))
        >>> language_probe(states, states + 9).mean().item()
        1.0
    """
    n = check_states(pivot, other, FOLDS)
    pairs = torch.arange(n, device=pivot.device)
    bits = probe(
        torch.cat([pivot, other]), (torch.arange(2 * n, device=pivot.device) >= n).long(), pairs.repeat(2)
    )
    return (bits[:n].double() + bits[n:].double()) / 2


def probe_chance(n: int) -> float:  # noqa: ARG001
    """Return the accuracy of a probe that knows nothing, among two languages: ½.

    Example:
        >>> probe_chance(100)
        0.5
    """
    return 0.5


def _coordinates(states: Tensor) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Return standardised states in as few coordinates as they span. A linear probe sees no difference."""
    apart = centred(states)
    spread = apart.square().mean(dim=0).sqrt()
    apart = apart / torch.where(spread == 0, 1.0, spread)
    if apart.shape[1] <= len(apart):
        return np.asarray(apart.numpy(force=True))
    variances, axes = torch.linalg.eigh(apart @ apart.T)
    kept = variances > _SPREAD * variances[-1].clamp_min(torch.finfo(torch.float64).tiny)
    return np.asarray((axes[:, kept] * variances[kept].sqrt()).numpy(force=True))


def _fit(x: np.ndarray, wanted: np.ndarray, labels: int, start: _Fit | None = None) -> _Fit:
    """Return weights [coordinate, label] and bias of the softmax regression of least penalised loss.

    It begins with those of another fold, where they are given.
    """
    width = x.shape[1]
    if labels == 2:  # noqa: PLR2004
        # Both columns are ± half of the weights w of one label against the other: ‖W‖² / 2 = ‖w‖² / 4.
        before = None if start is None else (2 * start[0][:, 1], float(start[1][1]))
        weights, intercept = l2_logistic(x, wanted == 1, penalty=0.5, start=before)
        return np.stack([-weights / 2, weights / 2], axis=1), np.array([0.0, intercept])
    truth = np.eye(labels)[wanted]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights, bias = flat[: width * labels].reshape(width, labels), flat[width * labels :]
        scores = x @ weights + bias
        scores -= scores.max(axis=1, keepdims=True)
        normaliser = np.log(np.exp(scores).sum(axis=1, keepdims=True))
        residual = np.exp(scores - normaliser) - truth
        value = float((normaliser[:, 0] - (scores * truth).sum(axis=1)).sum() + (weights**2).sum() / 2)
        return value, np.concatenate([(x.T @ residual + weights).ravel(), residual.sum(axis=0)])

    begin = np.zeros((width + 1) * labels) if start is None else np.concatenate([start[0].ravel(), start[1]])
    found = minimize(loss, begin, jac=True, method="L-BFGS-B", options={"maxiter": 200, "gtol": 1e-6}).x
    return found[: width * labels].reshape(width, labels), found[width * labels :]


LANGUAGE_PROBE = Metric(
    "language_probe",
    "Language identity",
    "hidden",
    language_probe,
    over="states",
    chance=probe_chance,
    has_floor=False,
    unit="accuracy",
    higher_is_better=False,
    least_pairs=FOLDS,
    definition=("The share of sentences whose language a linear probe tells from their states. ½ is chance."),
)
