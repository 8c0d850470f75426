"""`Improvement`: what a run has made of a model, language by language, with what got worse."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xalign.control.decision import Decision
from xalign.errors import ReportError
from xalign.results.report import AlignmentReport
from xalign.storage import write_whole
from xalign.views.before_after import FILE
from xalign.views.page import write_page
from xalign.views.stages import change_of_stages, stages_table

_WORTH_SAYING = 0.01  # a rise of a loss, as a share of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Improvement:
    """A model before and after training, and with its languages centred.

    Attributes:
        before: The report before training.
        trained: The report of the same sentences after it.
        centred: The same with each language's mean subtracted; None where this was not tried.
        kept: The languages for which centring helps, judged by the control pairs. For the others, training
            alone counts.
        losses: Language -> language-modelling loss of the reported sentences before and after training, in
            nats per token; empty for a model that generates no text.
        decisions: What was decided along the way; empty without a controller.
        cost: What was spent: `steps`, `pairs`, `replayed` documents, and `seconds` of training, with all
            measurements.
        folder: Where the run keeps its history.
    """

    before: AlignmentReport
    trained: AlignmentReport
    centred: AlignmentReport | None = None
    kept: tuple[str, ...] = ()
    losses: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    decisions: tuple[Decision, ...] = ()
    cost: Mapping[str, float] = field(default_factory=dict)
    folder: Path | None = None

    @property
    def stages(self) -> dict[str, AlignmentReport]:
        """Name -> report, in order."""
        found = {"before": self.before, "trained": self.trained}
        return found if self.centred is None else found | {"centred": self.centred}

    def after(self, language: str) -> AlignmentReport:
        """Return the report that says where a language stands at the end."""
        return self.centred if self.centred is not None and language in self.kept else self.trained

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per language and metric.

        Each has `before`, `trained`, `centred` (None where a language is not centred), the `difference` of
        the end from the beginning with its 95 % interval `low` to `high`, paired over sentences (None where
        it is not known), `floor` and `chance`, and `verdict`: better, worse, or "" where neither is sure.
        """
        return [
            self._row(language, metric)
            for language in self.trained.languages
            for metric in self.trained.measured
        ]

    def _row(self, language: str, metric: str) -> dict[str, Any]:
        end = self.after(language)
        difference, (low, high) = change_of_stages({"before": self.before, "after": end}, metric, language)
        return {
            "language": language,
            "metric": metric,
            "before": self.before.score(metric, language),
            "trained": self.trained.score(metric, language),
            "centred": end.score(metric, language) if end is self.centred else None,
            **{"difference": difference, "low": low, "high": high},
            "floor": end.floor(metric, language),
            "chance": end.chance(metric, language),
            "verdict": verdict_of(low, high, is_up=end.scale(metric).higher_is_better),
        }

    def worse(self) -> list[str]:
        """Say what got worse: scores that surely fell, and texts whose loss rose by 1 % or more."""
        found = [
            f"{row['metric']} of {row['language']} got worse: {row['before']:.3f} → "
            f"{row['before'] + row['difference']:.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
            for row in self.rows()
            if row["verdict"] == "worse"
        ]
        harder = [
            f"{language} {was:.3f} → {now:.3f} ({now / was - 1:+.1%})"
            for language, (was, now) in self.losses.items()
            if now > was * (1 + _WORTH_SAYING)
        ]
        said = f"text is harder for the model, in nats per token: {', '.join(harder)}"
        return [*found, said] if harder else found

    def sentences(self) -> list[str]:
        """Say in sentences what was done, what it brought, what it cost and what got worse."""
        metric = self.trained.measured[0]
        rows = [row for row in self.rows() if row["metric"] == metric]
        better = [row["language"] for row in rows if row["verdict"] == "better"]
        ends = {row["language"]: row["before"] + row["difference"] for row in rows}
        lowest = min(ends, key=lambda code: ends[code])
        said = [
            f"{self.trained.scale(metric).title}, mean of {len(rows)} languages: "
            f"{self.before.score(metric):.3f} before, {sum(ends.values()) / len(ends):.3f} after; surely "
            f"better in {len(better)} of them. The lowest is {lowest}, {ends[lowest]:.3f}."
        ]
        if self.centred is not None:
            said.append(
                f"Subtracting a language's mean helps, by the control pairs, in: {', '.join(self.kept)}."
                if self.kept
                else "Subtracting a language's mean surely helps in no language, by the control pairs."
            )
        if self.cost:
            said.append(
                f"It took {self.cost['steps']:,.0f} steps, {self.cost['pairs']:,.0f} pairs and "
                f"{self.cost['replayed']:,.0f} replayed documents, in {self.cost['seconds']:,.0f} seconds."
            )
        if self.decisions:
            said.append(f"Of {len(self.decisions)} decisions the last was: {self.decisions[-1].reason}.")
        worse = self.worse()
        return said + ([f"What got worse: {'; '.join(worse)}."] if worse else ["Nothing surely got worse."])

    def table(self) -> Any:
        """Return a table of the stages, to print with rich."""
        return stages_table(self.stages)

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers and sentences as JSON holds them. No sentence of the pairs is in it."""
        return {
            "schema_version": 1,
            "rows": self.rows(),
            "losses": {code: list(both) for code, both in self.losses.items()},
            "kept": list(self.kept),
            "cost": dict(self.cost),
            "said": self.sentences(),
        }

    def to_html(self, path: str | Path) -> Path:
        """Write the page of the run, which shows these numbers, its curves and its decisions.

        Returns:
            The path of the file.

        Raises:
            ReportError: The run kept no history, or the file cannot be written.
            ArgumentError: Another ending than `.html`.
        """
        if self.folder is None:
            raise ReportError("the run kept no history, so there is no page to write")
        return write_page(self.folder, path)

    def save(self, folder: str | Path) -> Path:
        """Write `improvement.json` to a folder; in the folder of the run, the page of the run shows it.

        Returns:
            The file.

        Raises:
            ReportError: It cannot be written.
        """
        file = Path(folder) / FILE
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ReportError(f"{file.parent} cannot be made: {error}") from error
        text = json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False, indent=1)
        write_whole(file, text.encode(), ReportError)
        return file


def verdict_of(low: float | None, high: float | None, *, is_up: bool) -> str:
    """Return what the 95 % interval of a change shows: better, worse, or "" if it contains 0."""
    if low is None or high is None or low <= 0 <= high:
        return ""
    return "better" if (low > 0) == is_up else "worse"
