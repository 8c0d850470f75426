"""`Evaluation`: what steering did, beside what controls did, with intervals."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xalign.errors import ArgumentError
from xalign.escape import cell
from xalign.judging.probe import Values
from xalign.statistics.intervals import Interval, bootstrap_interval, seed_interval

if TYPE_CHECKING:
    from rich.table import Table

CONTROLS = ("random", "shuffled")


@dataclass(frozen=True, eq=False, slots=True)
class Observation:
    """One quantity, without steering and under one way to steer.

    Attributes:
        label: The label whose units or vector steered.
        arm: `"units"`, `"vector"`, `"intervention"`, or the control: `"random"` or `"shuffled"`.
        seed: The seed of finding and sampling.
        number: The number of a control among those of its kind.
        quantity: `loss`, `output_share`, `output_loss`, or a metric of alignment.
        language: The language that the quantity is of.
        before: Its values without steering, per sentence, pair or continuation.
        after: The values of the same ones under steering.
        bounds: The smallest and the largest value that the quantity can have; None where there is no bound.
    """

    label: str
    arm: str
    seed: int
    number: int
    quantity: str
    language: str
    before: Values
    after: Values
    bounds: tuple[float, float] | None = None

    @property
    def difference(self) -> float:
        """After minus before, on average."""
        return float(self.after.mean() - self.before.mean())


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What steering did to a model, as `evaluate` returns it.

    Attributes:
        observations: Everything observed, per label, seed and arm.
        left_out: What was not done, and why.
    """

    observations: tuple[Observation, ...]
    left_out: tuple[str, ...] = ()

    def effect(self, label: str, quantity: str, language: str | None = None) -> dict[str, Any]:
        """Return the row of one quantity.

        Args:
            label: The label that was steered with.
            quantity: `loss`, `output_share`, `output_loss`, or a metric of alignment.
            language: The language that the quantity is of; the label itself if None.

        Raises:
            ArgumentError: It was not observed.
        """
        wanted = (label, quantity, language or label)
        for group in self._groups():
            if (group[0].label, group[0].quantity, group[0].language) == wanted:
                return self._row(group)
        seen = sorted({f"{one.quantity} of {one.label}" for one in self.observations})
        raise ArgumentError(
            f"{quantity} of {wanted[2]} under {label} was not observed; there is {', '.join(seen)}"
        )

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a dict per label, quantity and language.

        Its keys are label, quantity, language, before, after, difference, low and high (95 %: Student's t
        over seeds, or with one seed a bootstrap over sentences) and n (seeds). The ends of an interval stay
        within the possible differences: those of two shares lie in [−1, 1]. They are None where all
        differences are equal, which says nothing about their spread. A control adds the mean difference of
        its runs under its own name. The same name with `_low` and `_high` has their interval, and with
        `_largest` the largest.
        """
        return [self._row(group) for group in self._groups()]

    def table(self) -> "Table":
        """Return the rows as a rich table: each effect beside its interval and its controls."""
        from rich.table import Table

        controls = list(dict.fromkeys(one.arm for one in self.observations if _is_control(one)))
        table = Table(
            "steered",
            "quantity",
            "of",
            "before",
            "after",
            "difference [95 %]",
            *controls,
            box=None,
        )
        for row in self.to_rows():
            table.add_row(
                *(cell(row[name]) for name in ("label", "quantity", "language")),
                f"{row['before']:.3f}",
                f"{row['after']:.3f}",
                f"{row['difference']:+.3f}"
                + ("" if row["low"] is None else f" [{row['low']:+.3f}, {row['high']:+.3f}]"),
                *(f"{row[arm]:+.3f}" if arm in row else "" for arm in controls),
            )
        if self.left_out:
            table.caption = cell("; ".join(self.left_out))
        return table

    def _groups(self) -> Iterator[list[Observation]]:
        """Yield the observations of the same quantity together; what only controls have is left out."""
        groups: dict[tuple[str, str, str], list[Observation]] = {}
        for one in self.observations:
            groups.setdefault((one.label, one.quantity, one.language), []).append(one)
        yield from (group for group in groups.values() if not all(map(_is_control, group)))

    def _row(self, group: Sequence[Observation]) -> dict[str, Any]:
        """Return the row of a group."""
        own = [one for one in group if not _is_control(one)]
        differences = [one.difference for one in own]
        low, high = _interval(own)
        row = {
            "label": own[0].label,
            "quantity": own[0].quantity,
            "language": own[0].language,
            "before": float(np.mean([one.before.mean() for one in own])),
            "after": float(np.mean([one.after.mean() for one in own])),
            "difference": float(np.mean(differences)),
            "low": low,
            "high": high,
            "n": len(own),
        }
        for arm in dict.fromkeys(one.arm for one in group if _is_control(one)):
            runs = [one for one in group if one.arm == arm]
            interval = _interval(runs) if len(runs) > 1 else (None, None)
            found = [one.difference for one in runs]
            row |= {arm: float(np.mean(found)), f"{arm}_low": interval[0], f"{arm}_high": interval[1]}
            row[f"{arm}_largest"] = max(found)
        return row


def _interval(runs: Sequence[Observation]) -> Interval | tuple[None, None]:
    """Return the interval of a mean difference over runs, or over the sentences of a single one."""
    first = runs[0]
    over_seeds = len(runs) > 1
    values = np.array([one.difference for one in runs]) if over_seeds else first.after - first.before
    if np.ptp(values) == 0:
        return None, None
    ends = seed_interval(values.tolist()) if over_seeds else bootstrap_interval(values, seed=first.seed)
    if first.bounds is None:
        return ends
    least, most = first.bounds
    low, high = np.clip(ends, least - most, most - least).tolist()
    return low, high


def _is_control(one: Observation) -> bool:
    return one.arm in CONTROLS
