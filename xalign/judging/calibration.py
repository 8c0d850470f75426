"""`Calibration`: the ways to steer that were tried, and the best of each label."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from xalign.errors import ArgumentError
from xalign.escape import cell
from xalign.model.operators import OperatorLike
from xalign.model.positions import Positions
from xalign.pairs.languages import match_language

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, slots=True)
class Trial:
    """One way to steer that was tried.

    Attributes:
        label: The label that was steered towards.
        positions: The tokens that were changed.
        strength: The strength.
        share: The share of the output in the label's language.
        before: The same share without steering.
        rise: By how much the output's loss under the unedited model exceeds that of natural text, in nats per
            token.
    """

    label: str
    positions: Positions
    strength: float
    share: float
    before: float
    rise: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was tried and what was chosen; called with a label, it returns the arguments of `steer`.

    Attributes:
        operator: The operator of all trials; None for the default of `steer`.
        tried: All trials.
        chosen: Label -> the trial with the highest share among those whose rise is at most `max_rise`; None
            if none of these raises the share.
        max_rise: The largest rise allowed, in nats per token.
    """

    operator: OperatorLike | None
    tried: tuple[Trial, ...]
    chosen: Mapping[str, Trial | None]
    max_rise: float

    def __call__(self, label: str) -> dict[str, Any]:
        """Return operator, strength and positions for a label, for `steer` and for `evaluate(how=)`.

        Raises:
            ArgumentError: A label that was not calibrated, or for which no trial was chosen.
        """
        known = match_language(label, self.chosen)
        if known is None:
            raise ArgumentError(f"label={label!r} was not calibrated; there is {', '.join(self.chosen)}")
        label, trial = known, self.chosen[known]
        if trial is None:
            raise ArgumentError(self._why_nothing(label))
        return {"operator": self.operator, "strength": trial.strength, "positions": trial.positions}

    @property
    def labels(self) -> list[str]:
        """The labels for which there is a choice, as `evaluate(labels=)` takes them."""
        return [label for label, trial in self.chosen.items() if trial is not None]

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a dict per trial, with `chosen` beside its attributes."""
        return [asdict(one) | {"chosen": one is self.chosen[one.label]} for one in self.tried]

    def table(self) -> "Table":
        """Return the trials as a rich table, the chosen ones marked."""
        from rich.table import Table

        table = Table(
            "steered", "positions", "strength", "share", "before", "loss over natural", "", box=None
        )
        for row in self.to_rows():
            table.add_row(
                cell(row["label"]),
                cell(getattr(row["positions"], "__name__", row["positions"])),
                f"{row['strength']:g}",
                f"{row['share']:.2f}",
                f"{row['before']:.2f}",
                f"{row['rise']:+.2f}",
                "chosen" if row["chosen"] else "",
            )
        return table

    def _why_nothing(self, label: str) -> str:
        """Return why no trial of a label was chosen, and what to try next."""
        tried = [one for one in self.tried if one.label == label]
        raising = [one for one in tried if one.share > one.before]
        if not raising:
            return (
                f"nothing tried raises the share of {label} above {tried[0].before:.2f}, what it is "
                "without: try greater strengths, other positions, other units, or more samples"
            )
        nearest = min(raising, key=lambda one: one.rise)
        return (
            f"nothing tried for {label} raises its share within {self.max_rise} nats of natural text; "
            f"the nearest, strength {nearest.strength} at {nearest.positions}, costs {nearest.rise:+.2f}: "
            "try smaller strengths, other positions, or a larger max_rise"
        )
