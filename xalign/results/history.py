"""`History`: what was measured along a run, in one file that can be appended to and resumed."""

import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xalign.checks import whole_number
from xalign.errors import ArgumentError, ReportError
from xalign.metrics.metric import Scale
from xalign.pairs.parallel import count_range
from xalign.results.saved import described_scale
from xalign.storage import write_whole

if TYPE_CHECKING:
    from xalign.results.report import AlignmentReport

SCHEMA_VERSION = 1
KIND = "xalign.History"
NAME = "history.jsonl"

Row = dict[str, Any]
_PER_LANGUAGE = ("n", "chance", "floor")
_PER_LAYER = ("value", "low", "high")
# Of reports of 0.1.0, which do not say themselves what must agree.
_CONTINUED_IN_0_1_0 = (
    *("template", "template_pooled", "pool_special_tokens", "truncate"),
    *("subtract", "steered"),
)


class History:
    """What was measured along a run: an entry per step, each of them one line of JSON.

    The file is only ever appended to, so that what an interruption leaves is whole lines and at most one
    broken last one, which is dropped when the file is opened. A line holds the step, model, fingerprint of
    the pairs, settings, cost, and per metric and language the values of all layers with their intervals.

    Args:
        path: The file to append to; in memory only where None.

    Attributes:
        path: The file.
        entries: Its lines, from the first step to the last.

    Raises:
        ReportError: The file is no history, or of another schema.

    Example:
        >>> history = History()
        >>> for step in (0, 100):
        ...     history.append(measure(model, tokenizer, pairs, ["nasca"], step=step))
        >>> history.steps
        [0, 100]
        >>> sorted(history.to_rows()[0])[:4]
        ['chance', 'floor', 'high', 'language']
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = None if path is None else Path(path)
        self.entries: list[Row] = []
        self._written = 0  # bytes of whole lines in the file
        self._seen = 0  # bytes of the file when it was last read or written
        self._unwritten: list[bytes] = []
        if self.path is not None and self.path.exists():
            self._read(self.path)

    @classmethod
    def load(cls, path: str | Path) -> "History":
        """Reads a history file, or that of a run's folder.

        Raises:
            ReportError: There is none, or it cannot be read.
        """
        found = find_history(path)
        if found is None:
            raise ReportError(
                f"{str(path)!r} holds no {NAME}; give the file, or the folder of a run that was measured"
            )
        return cls(found)

    @property
    def steps(self) -> list[int]:
        """The steps measured."""
        return [entry["step"] for entry in self.entries]

    @property
    def languages(self) -> list[str]:
        """The languages without the pivot."""
        return list(next(iter(self.entries[-1]["metrics"].values()))["languages"]) if self.entries else []

    @property
    def metrics(self) -> list[str]:
        """The metrics, retrieval in both directions."""
        return list(self.entries[-1]["metrics"]) if self.entries else []

    def to_rows(self) -> list[Row]:
        """The rows of all entries, with the keys of `AlignmentReport.to_rows`."""
        return [row for entry in self.entries for row in _rows_of(entry)]

    def check(self, provenance: Mapping[str, Any], readings: Mapping[str, Sequence[str] | None]) -> None:
        """An error where what it holds was measured otherwise: more of it would be no curve.

        Args:
            provenance: As a report's; what is not in it is not compared.
            readings: Metric -> the places it is read at, from the first layer to the last, or None where they
                are not known yet.

        Raises:
            ReportError: Other sentences, settings, metrics or places.
        """
        if not self.entries:
            return
        last = self.entries[-1]
        advice = "measure the same, or into another folder"
        for name in dict.fromkeys((*last["settings"], *_settings_of(provenance))):
            was = last["settings"].get(name)
            if (provenance.get(name, was) or None) == (was or None):
                continue
            if name == "fingerprint":
                languages = next(iter(last["metrics"].values()))["languages"]
                each = count_range(numbers["n"] for numbers in languages.values())
                raise ReportError(
                    f"{self.path or 'the history'} was measured on other sentences than these, on {each} "
                    f"pairs each of {', '.join(languages)} with {last['pivot']}; {advice}"
                )
            raise ReportError(
                f"{name} was {was!r} at step {last['step']} and is {provenance[name]!r} now: such scores "
                f"make no curve; {advice}"
            )
        were = {metric: list(found["readings"]) for metric, found in last["metrics"].items()}
        if were.keys() != readings.keys() or any(
            places is not None and were[metric] != list(places) for metric, places in readings.items()
        ):
            raise ReportError(
                f"the metrics or their places are not those of step {last['step']}: {', '.join(were)} there, "
                f"{', '.join(readings)} now; {advice}"
            )

    def report(self, step: int) -> "AlignmentReport | None":
        """The whole report of a step, where it was kept beside the file."""
        from xalign.results.report import AlignmentReport

        if self.path is None:
            return None
        try:
            return AlignmentReport.load(self.path.parent / folder_name(step))
        except ReportError:  # not kept, or not whole
            return None

    def append(self, report: "AlignmentReport") -> None:
        """Adds a report's numbers, in the file too.

        Raises:
            ArgumentError: A report without a step, or of a step not after the last one.
            ReportError: A report of other sentences, settings or readings than those before it.
            OSError: The file cannot be written. The entry is kept, and written with the next.
        """
        entry = entry_of(report)
        self._take_up()
        if self.entries and entry["step"] <= self.steps[-1]:
            raise ArgumentError(
                f"step={entry['step']} is not after the last step measured, {self.steps[-1]}; a history "
                "holds each step once, in order"
            )
        self._check_report(report)
        self.entries.append(entry)
        if self.path is not None:
            self._unwritten.append(_line(entry))
            self._write(self.path)

    def insert(self, report: "AlignmentReport") -> None:
        """Adds a report of any step that was not measured; the file is written anew where others follow.

        Raises:
            As `append`, and ArgumentError where the step is there already.
        """
        self._take_up()
        step = report.step
        later = [entry for entry in self.entries if step is not None and entry["step"] >= step]
        if not later:
            self.append(report)
            return
        if later[0]["step"] == step:
            raise ArgumentError(f"step={step} is in the history already")
        self._check_report(report)
        self.entries = sorted([*self.entries, entry_of(report)], key=lambda one: int(one["step"]))
        self._rewrite()

    def keep_until(self, step: int) -> None:
        """Drops what is after a step: a run that resumes there does it again."""
        self._take_up()
        kept = [entry for entry in self.entries if entry["step"] <= step]
        if len(kept) == len(self.entries):
            return
        self.entries = kept
        self._rewrite()

    def to_html(self, path: str | Path) -> Path:
        """Writes the run as one page that opens from disk; see `xalign.views.page.write_page`."""
        from xalign.views.page import write_page

        return write_page(self, path)

    def __len__(self) -> int:
        """How many steps were measured."""
        return len(self.entries)

    def __repr__(self) -> str:
        """Where it is and what it holds."""
        span = f", steps {self.steps[0]} to {self.steps[-1]}" if self.entries else ""
        where = "" if self.path is None else f"{str(self.path)!r}, "
        return f"History({where}{len(self)} entries{span})"

    def _take_up(self) -> None:
        """Takes up what another process has written since, as `xalign track` does beside a run."""
        if self.path is None or self._unwritten:
            return
        size = self.path.stat().st_size if self.path.exists() else 0
        if size == self._seen:
            return
        there = History(self.path) if size else History()
        by_step = {entry["step"]: entry for entry in (*there.entries, *self.entries)}
        self.entries = [by_step[step] for step in sorted(by_step)]
        self._written, self._seen = there._written, there._seen
        if len(self.entries) > len(there.entries):  # the file was replaced by less than it had
            self._rewrite()

    def _rewrite(self) -> None:
        if self.path is not None:
            lines = [_line(entry) for entry in self.entries]
            write_whole(self.path, b"".join(lines))
            self._written, self._unwritten = sum(map(len, lines)), []
            self._seen = self._written

    def _check_report(self, report: "AlignmentReport") -> None:
        self.check(report.provenance, {metric: result.readings for metric, result in report.metrics.items()})

    def _write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab") as file:
            file.truncate(self._written)  # what a broken write left
            file.seek(0, os.SEEK_END)
            while self._unwritten:
                file.write(self._unwritten[0])
                file.flush()
                os.fsync(file.fileno())
                self._written += len(self._unwritten.pop(0))
                self._seen = self._written

    def _read(self, path: Path) -> None:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ReportError(f"{str(path)!r} cannot be read: {error.strerror}") from None
        self._seen = len(data)
        for number, line in enumerate(data.splitlines(keepends=True), start=1):
            is_last = self._written + len(line) == len(data)
            try:
                entry = json.loads(line)
                _check_entry(entry)
            except ReportError as error:
                raise ReportError(f"{path}, line {number}: {error}") from None
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                if not is_last:
                    raise ReportError(
                        f"{path}, line {number} is no entry of a history; restore the file, or name another "
                        "folder"
                    ) from None
                entry = None
            if entry is None or not line.endswith(b"\n"):
                warnings.warn(
                    f"{path}: its last line is broken, as an interruption leaves it, and is dropped",
                    UserWarning,
                    stacklevel=4,
                )
                return
            self.entries.append(entry)
            self._written += len(line)


def entry_of(report: "AlignmentReport") -> Row:
    """A report's numbers as an entry of a history.

    Raises:
        ArgumentError: A report without a step.
    """
    if report.step is None:
        raise ArgumentError("the report has no step: measure(..., step=n)")
    by_metric: dict[str, Row] = {}
    for row in report.to_rows():
        metric = by_metric.setdefault(
            row["metric"],
            {
                "metric": report.metrics[row["metric"]].metric,
                "scale": asdict(report.metrics[row["metric"]].scale),
                "layers": [*report.metrics[row["metric"]].layers, "mean"],
                "readings": list(report.metrics[row["metric"]].readings),
                "languages": {},
            },
        )
        of_language = metric["languages"].setdefault(
            row["language"],
            {name: row[name] for name in _PER_LANGUAGE} | {name: [] for name in _PER_LAYER},
        )
        for name in _PER_LAYER:
            of_language[name].append(row[name])
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": KIND,
        "step": whole_number("step", report.step),
        "model": report.provenance.get("model"),
        "revision": report.provenance.get("revision"),
        "pivot": report.pairs.pivot,
        "settings": _settings_of(report.provenance),
        "cost": {"seconds": report.cost.seconds, "cpu_seconds": report.cost.cpu_seconds},
        "metrics": by_metric,
    }


def scale_in(entry: Row, row: str) -> Scale:
    """What the numbers of a row of an entry mean."""
    return described_scale(row, entry["metrics"][row])[1]


def _settings_of(provenance: Mapping[str, Any]) -> Row:
    """The settings that must be the same in all entries of a history."""
    marks = provenance.get("must_agree")
    names = _CONTINUED_IN_0_1_0 if marks is None else (*marks["compared"], *marks["continued"])
    return {name: provenance.get(name) for name in ("fingerprint", *names)}


def folder_name(step: int) -> str:
    """The folder of a step's report beside the history.

    Example:
        >>> folder_name(200)
        'step-00000200'
    """
    return f"step-{step:08d}"


def find_history(path: str | Path) -> Path | None:
    """The history file that a path names: itself, or in the folder of a run or of its reports."""
    path = Path(path)
    for candidate in (path, path / NAME, path / "alignment" / NAME):
        if candidate.is_file():
            return candidate
    return None


def _line(entry: Row) -> bytes:
    return json.dumps(entry, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _rows_of(entry: Row) -> Iterator[Row]:
    for metric, found in entry["metrics"].items():
        for language, numbers in found["languages"].items():
            for place, layer in enumerate(found["layers"]):
                yield {
                    "step": entry["step"],
                    "metric": metric,
                    "language": language,
                    **_place(layer),
                    **{name: numbers[name][place] for name in _PER_LAYER},
                    **{name: numbers[name] for name in _PER_LANGUAGE},
                }


def _place(layer: str | int) -> Row:
    """Stack and layer of a site by its short name, like `3` or `decoder.3`."""
    stack, dot, of_stack = str(layer).partition(".")
    if not dot or stack not in ("encoder", "decoder"):
        return {"stack": "", "layer": layer}
    return {"stack": stack, "layer": int(of_stack) if of_stack.isdecimal() else of_stack}


def _check_entry(entry: Row) -> None:
    if entry["kind"] != KIND or entry["schema_version"] != SCHEMA_VERSION:
        raise ReportError(
            f"{entry['kind']} of schema {entry['schema_version']}; this xalign reads {KIND} of schema "
            f"{SCHEMA_VERSION}: read it with the version that wrote it, or name another folder"
        )
    whole_number("step", entry["step"])
    _ = entry["settings"], entry["cost"]["seconds"]
    for found in entry["metrics"].values():
        for numbers in found["languages"].values():
            _ = [numbers[name] for name in _PER_LANGUAGE]
            lengths = {len(numbers[name]) for name in _PER_LAYER} | {len(found["layers"])}
            if len(lengths) != 1 or not isinstance(found["readings"], Sequence):
                raise ValueError("layers and values of different lengths")
