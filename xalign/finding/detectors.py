"""`Detectors`: every unit scored as a detector of each label, for methods that choose the best of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xalign.errors import ArgumentError
from xalign.finding.activations import Activations
from xalign.finding.choice import Choice
from xalign.finding.places import Places
from xalign.model.architectures.sites import Site
from xalign.units.unit_set import UnitSet
from xalign.warn import warn

Ends = Literal["high", "low", "both"]
Value = Literal["median", "mean", "p90"]
Measure = Callable[[Tensor, Tensor], Tensor]
ENDS: tuple[Ends, ...] = ("high", "low", "both")
VALUES: tuple[Value, ...] = ("median", "mean", "p90")
_AT_ONCE = 2**22  # activations


class Detectors:
    """Every unit as a detector of each label: its score, and the value to set it to.

    Args:
        labels: The labels.
        measure: Function from the activations [sentence, unit], and which sentences are the label's own, to
            how well each unit detects the label; higher is better.
        ends: Which end of the activations indicates a label.
        value: What is stored of the activations on a label's own sentences.
        constant: What a unit with the same activation everywhere scores, in words.

    Raises:
        ArgumentError: Unknown ends or an unknown value.
    """

    def __init__(
        self, labels: Sequence[str], measure: Measure, ends: Ends, value: Value, *, constant: str
    ) -> None:
        if ends not in ENDS:
            raise ArgumentError(f"ends={ends!r} must be one of {', '.join(ENDS)}")
        if value not in VALUES:
            raise ArgumentError(f"value={value!r} must be one of {', '.join(VALUES)}")
        self._labels, self._ends, self._value = labels, ends, value
        self._measure, self._of_constant = measure, constant
        self._widths: dict[Site, int] = {}
        self._constant: list[Tensor] = []
        self._scores: list[list[Tensor]] = [[] for _ in labels]
        self._values: list[list[Tensor]] = [[] for _ in labels]

    def add(self, of_site: Activations) -> None:
        """Score the units of a site."""
        values = of_site.values
        self._widths[of_site.site] = values.shape[1]
        self._constant.append(values.amax(dim=0) == values.amin(dim=0))
        for number in range(len(self._labels)):
            own = of_site.of(number)
            score, is_low = self._expertise(values, own)
            self._scores[number].append(score)
            self._values[number].append(stored(values[own], is_low, self._value))

    def chosen(self, choice: Choice, provenance: Mapping[str, Any]) -> UnitSet:
        """Return the units chosen for each label, and warn of constant ones."""
        constant, n_constant, places = torch.cat(self._constant), 0, Places(self._widths)
        parts = []
        for number, label in enumerate(self._labels):
            score, values = torch.cat(self._scores[number]), torch.cat(self._values[number])
            best = choice.best(score)
            if not len(best):
                raise ArgumentError(f"{choice} chooses no unit of {len(score)} for {label}; choose more")
            n_constant += int(constant[best].sum())
            parts.append((best, score[best], values[best]))
        found = places.unit_set(self._labels, parts, provenance)
        if n_constant:
            warn(
                f"{n_constant} of the {len(found)} units chosen have the same activation for every sentence, "
                f"so they distinguish no label ({self._of_constant}); choose fewer"
            )
        return found

    def _expertise(
        self, values: Float[Tensor, "sentence unit"], own: Bool[Tensor, " sentence"]
    ) -> tuple[Float[Tensor, " unit"], Bool[Tensor, " unit"]]:
        """Return the score of each unit, and whether it is that of its negative."""
        if self._ends == "high":
            score = self._measure(values, own)
            return score, torch.zeros_like(score, dtype=torch.bool)
        low = self._measure(-values, own)
        if self._ends == "low":
            return low, torch.ones_like(low, dtype=torch.bool)
        high = self._measure(values, own)
        return torch.maximum(high, low), low > high


def stored(
    values: Float[Tensor, "sentence unit"], is_low: Bool[Tensor, " unit"], value: Value
) -> Float[Tensor, " unit"]:
    """Return what each unit is set to in order to steer towards its label."""
    # In parts: a quantile takes 16 million numbers at most, and the experts of one block may have more.
    width = max(1, _AT_ONCE // len(values))
    parts = zip(torch.split(values, width, dim=1), torch.split(is_low, width), strict=True)
    return torch.cat([_stored_part(part.double(), low, value) for part, low in parts])


def _stored_part(
    values: Float[Tensor, "sentence unit"], is_low: Bool[Tensor, " unit"], value: Value
) -> Float[Tensor, " unit"]:
    if value == "mean":
        return values.mean(dim=0)
    if value == "median":
        return values.quantile(0.5, dim=0)
    return torch.where(is_low, values.quantile(0.1, dim=0), values.quantile(0.9, dim=0))
