"""`Standing`: what the bench of steering found, as rows, a table and a file."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xalign.errors import ArgumentError
from xalign.statistics.intervals import seed_interval
from xalign.storage import write_whole

if TYPE_CHECKING:
    from rich.table import Table

SCHEMA_VERSION = 1
_KEYS = {
    "contestant",
    "arm",
    "label",
    "seed",
    "language",
    "meaning",
    "both",
    "loss",
    "alignment",
    "cpu_seconds",
}


def harmonic_mean(language: float, meaning: float) -> float:
    """Return the harmonic mean of two shares; 0 where either is 0.

    Example:
        >>> harmonic_mean(1.0, 0.5)
        0.6666666666666666
    """
    return 2 * language * meaning / (language + meaning) if language and meaning else 0.0


@dataclass(frozen=True)
class Standing:
    """What `bench_steering` found.

    Attributes:
        rows: A dict per contestant, arm (`"own"`, or the controls `"random"` and `"shuffled"`), label and
            seed: `language` and `meaning` as shares of the judged pairs, `both` as their harmonic mean,
            `loss` of the outputs under the unedited model in nats per token, `alignment` (NASCA) with both
            sides steered, `cpu_seconds` of finding, and the `strength` and `positions` chosen. The contestant
            `"none"` is the model without steering.
    """

    rows: Sequence[dict[str, Any]]

    def ranking(self) -> list[dict[str, Any]]:
        """Return a dict per contestant, the best first: means over languages and seeds, and wins over chance.

        `beats_random` lists the languages in which `both` is above that of the random control: in the mean,
        and with the whole 95 % interval over seeds where there are several.
        """
        names = dict.fromkeys(row["contestant"] for row in self.rows)
        return sorted((self._summary(name) for name in names), key=lambda one: -one["both"])

    def _summary(self, name: str) -> dict[str, Any]:
        own = [row for row in self.rows if row["contestant"] == name and row["arm"] == "own"]
        summary: dict[str, Any] = {"contestant": name}
        for quantity in ("both", "language", "meaning", "loss", "alignment", "cpu_seconds"):
            known = [row[quantity] for row in own if row[quantity] is not None]
            summary[quantity] = float(np.mean(known)) if known else None
        means = [self._mean(name, "own", seed=seed) for seed in self._seeds]
        by_seed = [mean for mean in means if mean is not None]
        summary["low"], summary["high"] = seed_interval(by_seed) if len(by_seed) > 1 else (None, None)
        for control in ("random", "shuffled"):
            summary[control] = self._mean(name, control)
        labels = list(dict.fromkeys(row["label"] for row in own))
        summary["labels"] = labels
        summary["beats_random"] = [label for label in labels if self._beats(name, label)]
        return summary

    @property
    def _seeds(self) -> list[int]:
        return sorted({row["seed"] for row in self.rows})

    def _mean(self, name: str, arm: str, **where: Any) -> float | None:
        wanted = {"contestant": name, "arm": arm, **where}
        found = [row["both"] for row in self.rows if wanted.items() <= row.items()]
        return float(np.mean(found)) if found else None

    def _beats(self, name: str, label: str) -> bool:
        gains = []
        for seed in self._seeds:
            own, chance = (self._mean(name, arm, label=label, seed=seed) for arm in ("own", "random"))
            if own is None or chance is None:
                return False
            gains.append(own - chance)
        lowest = seed_interval(gains)[0] if len(gains) > 1 else gains[0]
        return lowest > 0

    def table(self) -> "Table":
        """Return the ranking as a table."""
        from rich.table import Table

        table = Table(box=None)
        for column in (
            "",
            "both",
            "language",
            "meaning",
            "random",
            "shuffled",
            "loss",
            "NASCA",
            "CPU s",
            "beats random in",
        ):
            table.add_column(column)
        for one in self.ranking():
            shown = [
                one[key] for key in ("both", "language", "meaning", "random", "shuffled", "loss", "alignment")
            ]
            cells = ["" if value is None else f"{value:.2f}" for value in shown]
            seconds = "" if one["cpu_seconds"] is None else f"{one['cpu_seconds']:.1f}"
            wins = (
                "" if one["contestant"] == "none" else f"{len(one['beats_random'])} of {len(one['labels'])}"
            )
            table.add_row(one["contestant"], *cells, seconds, wins)
        return table

    def save(self, file: str | Path) -> Path:
        """Write the rows as JSON, completely or not at all."""
        content = {"schema_version": SCHEMA_VERSION, "rows": list(self.rows)}
        path = Path(file)
        write_whole(path, json.dumps(content, indent=1).encode())
        return path

    @classmethod
    def load(cls, file: str | Path) -> "Standing":
        """Read what `save` has written.

        Raises:
            ArgumentError: Another file, or one of a later version.
        """
        try:
            content = json.loads(Path(file).read_text(encoding="utf-8"))
            rows, version = content["rows"], content["schema_version"]
            good = version == SCHEMA_VERSION and all(row.keys() >= _KEYS for row in rows)
        except (ValueError, KeyError, TypeError, AttributeError):
            good = False
        if not good:
            raise ArgumentError(f"file={str(file)!r} is not a bench of steering that this version can read")
        return cls(tuple(rows))
