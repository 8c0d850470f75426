"""`report.html`: a report or a run as one page that opens from disk."""

import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from xalign.errors import ReportError
from xalign.pairs.parallel import count_range
from xalign.results.emergence import emergence
from xalign.results.history import NAME, History, find_history
from xalign.results.report import AlignmentReport
from xalign.results.saved import REPORT
from xalign.storage import writable_folder, write_whole

WORST = 5  # pairs shown per language
ACRONYMS = ("nasca", "navca", "mexa")


def write_page(source: AlignmentReport | History | str | Path, path: str | Path) -> Path:
    """Writes a page of a report, a history or the folder of either: one file, without network or server.

    Curves with interval bands, floor and chance; when each language emerged; a layer × step map per language;
    the worst pairs with their text, where a report of the last step is at hand; cost and provenance.

    Args:
        source: A report, a history, the folder of a saved report, or of a run that was measured.
        path: The file, such as `report.html`; replaced where it exists.

    Raises:
        ReportError: Nothing was measured there, or the file cannot be written.

    Example:
        >>> write_page(report, "report.html").name
        'report.html'
    """
    path = Path(path)
    history, report = _sources(source)
    if not history.entries:
        raise ReportError(f"{source!r:.80} holds nothing that was measured")
    if path.is_dir():
        raise ReportError(f"path={str(path)!r} is a folder; name the file, like {path / 'report.html'}")
    writable_folder(path.parent, ReportError)
    text = json.dumps(_data(history, report), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    page = files("xalign.views").joinpath("page.html").read_text(encoding="utf-8")
    # In a script, "<" could end it.
    write_whole(path, page.replace("__DATA__", text.replace("<", "\\u003c")).encode())
    return path


def _sources(source: AlignmentReport | History | str | Path) -> tuple[History, AlignmentReport | None]:
    """The history, and the report of its last step where there is one."""
    if isinstance(source, History):
        return source, _last_report(source)
    if not isinstance(source, AlignmentReport):
        if find_history(source) is not None:
            history = History.load(source)
            return history, _last_report(history)
        if not Path(source).exists():
            raise ReportError(f"source={str(source)!r} does not exist")
        if not (Path(source) / REPORT).is_file():
            raise ReportError(
                f"source={str(source)!r} holds no {NAME} and no {REPORT}; give the output_dir of a run "
                "that was measured, its alignment folder, or the folder of a report"
            )
        source = AlignmentReport.load(source)
    history = History()
    history.append(replace(source, step=source.step or 0))
    return history, source


def _last_report(history: History) -> AlignmentReport | None:
    return history.report(history.steps[-1]) if history.entries else None


def _data(history: History, report: AlignmentReport | None) -> dict[str, Any]:
    first, last = history.entries[0], history.entries[-1]
    steps = history.steps
    span = (
        f"steps {steps[0]} to {steps[-1]}, {len(steps)} measurements" if len(steps) > 1 else "one measurement"
    )
    counts = {numbers["n"] for found in last["metrics"].values() for numbers in found["languages"].values()}
    languages = f"{len(history.languages)} language{'s' if len(history.languages) > 1 else ''}"
    seconds = sum(entry["cost"]["seconds"] for entry in history.entries)
    about = {
        "model": last["model"] or None,
        "revision": last["revision"],
        "sentences": f"fingerprint {str(last['settings']['fingerprint'])[:16]}",
        **{name: value for name, value in last["settings"].items() if name != "fingerprint"},
        "measuring took": f"{seconds:.1f} s in all, {seconds / len(steps):.2f} s each",
        "history": history.path,
    }
    if report is not None:
        about["versions"] = ", ".join(f"{k} {v}" for k, v in report.provenance.get("versions", {}).items())
    about = {name: str(value) for name, value in about.items() if value is not None and value != []}
    return {
        "title": f"Alignment of {_title(history)} with {first['pivot']}",
        "lead": f"{languages} × {count_range(counts)} pairs, {span}.",
        "steps": steps,
        "metrics": {metric: _of_metric(history, metric) for metric in history.metrics},
        "worst": {}
        if report is None
        else {
            metric: {code: report.worst_pairs(metric, code, WORST) for code in report.languages}
            for metric in report.metrics
        },
        "about": about,
    }


def _title(history: History) -> str:
    """What was measured: a model by its name, many checkpoints by their run's folder."""
    models = {entry["model"] for entry in history.entries}
    if len(models) > 1 and history.path is not None:
        folder = history.path.resolve().parent
        return folder.parent.name if folder.name == "alignment" else folder.name
    model = history.entries[-1]["model"]
    if not model:
        return "a model"
    return Path(model).name if Path(model).is_absolute() else str(model)


def _of_metric(history: History, metric: str) -> dict[str, Any]:
    """One metric's numbers, in thousandths where there are many."""
    found = [entry["metrics"][metric] for entry in history.entries]
    emerged = {row["language"]: row for row in emergence(history, metric) if row["layer"] == "mean"}

    def thousandths(values: list[float]) -> list[int]:
        return [round(1000 * value) for value in values]

    languages = {}
    for code in history.languages:
        series = [entry["languages"][code] for entry in found]
        last = series[-1]
        languages[code] = {
            **{name: last[name] for name in ("n", "chance", "floor")},
            **{
                name: thousandths([numbers[key][-1] for numbers in series])
                for name, key in (("score", "value"), ("low", "low"), ("high", "high"))
            },
            "layer_low": thousandths(last["low"][:-1]),
            "layer_high": thousandths(last["high"][:-1]),
            "values": [thousandths(numbers["value"][:-1]) for numbers in series],
            "emergence": emerged[code],
        }
    return {
        "name": metric.upper() if metric in ACRONYMS else metric.capitalize().replace("_", " "),
        "layers": [str(layer) for layer in found[-1]["layers"][:-1]],
        "unbounded": metric == "margin",
        "languages": languages,
    }
