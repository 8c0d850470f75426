"""`report.html`: a report or a run as one page that opens from disk."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from xalign.errors import ArgumentError, ReportError
from xalign.files import html_file
from xalign.languages import named_with_code
from xalign.metrics import definition_of
from xalign.metrics.scale import Scale
from xalign.pairs.parallel import count_range
from xalign.results.emergence import emergence
from xalign.results.history import NAME, History, find_history
from xalign.results.history_entry import place_of, scale_in, unknown_in
from xalign.results.report import AlignmentReport
from xalign.results.resampling import layer_intervals, over_what
from xalign.results.run_folder import PRIVATE, PUBLIC
from xalign.results.saved import REPORT
from xalign.results.standing import Standing, bars_in, standing
from xalign.results.unknown import with_unknown
from xalign.storage import writable_folder, write_whole
from xalign.views.before_after import improvement_of
from xalign.views.decisions import decisions_of
from xalign.views.digits import decimals_of
from xalign.views.losses import losses_of
from xalign.views.signs import sign_of, signs_note
from xalign.views.verdict import verdict_of_entry

WORST = 5  # worst pairs shown per language
SCRIPTS = ("charts.js", "before_after.js", "decisions.js", "page.js")  # the last runs what the others define


def write_page(source: AlignmentReport | History | str | Path, path: str | Path) -> Path:
    """Write a page about a report or a run: one file that needs neither network nor server.

    It opens with what was measured and what the scores say, in words, and defines each metric. It shows
    curves with interval bands, floor and chance; the training loss of the run, if its checkpoints hold it;
    what `improve` changed in a model, including what got worse; what a closed loop decided, and why; when
    each language emerged; a layer × step map per language; the worst pairs with their text, if the report of
    the last step is available; and cost and provenance.

    Args:
        source: A report, a history, the folder of a saved report, or the folder of a run that was measured.
        path: The file to write, which must end in `.html`, such as `report.html`; replaced where it exists.

    Returns:
        The path of the file.

    Raises:
        ReportError: The source holds nothing that was measured, or the file cannot be written.
        ArgumentError: Another ending, or a path that is a pipe, a device or a socket.

    Example:
        >>> write_page(report, "report.html").name
        'report.html'
    """
    path = Path(path)
    history, report = _sources(source)
    if not history.entries:
        raise ReportError(f"source={str(source)!r:.300} holds nothing that was measured")
    if path.is_dir():
        raise ReportError(f"path={str(path)!r} is a folder; name the file, like {path / 'report.html'}")
    html_file("path", path)
    if path.exists() and not path.is_file():
        raise ArgumentError(f"path={str(path)!r} is no regular file but a pipe, a device or a socket")
    writable_folder(path.parent, ReportError)
    text = json.dumps(_data(history, report), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    page = (
        _part("page.html")
        .replace("__STYLE__", _part("page.css"))
        .replace("__SCRIPT__", "\n".join(map(_part, SCRIPTS)))
    )
    # The data come last: a sentence may hold one of the placeholders. In a script, "<" could end it.
    write_whole(path, page.replace("__DATA__", text.replace("<", "\\u003c")).encode(), ReportError)
    return path


def _part(name: str) -> str:
    """Return the text of a file beside this one."""
    return files("xalign.views").joinpath(name).read_text(encoding="utf-8").rstrip("\n")


def _sources(source: AlignmentReport | History | str | Path) -> tuple[History, AlignmentReport | None]:
    """Return the history of a source, and the report of its last step where there is one."""
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
    history.entries[0]["metrics"] = _with_whole_metrics(history.entries[0]["metrics"], source)
    return history, source


def _with_whole_metrics(rows: dict[str, Any], report: AlignmentReport) -> dict[str, Any]:
    """Put each metric of several rows, such as retrieval, before its rows, as tables and heatmaps show it.

    This needs the values of every pair, which a history does not hold.
    """
    found = {}
    for metric in report.measured:
        parts = {row: numbers for row, numbers in rows.items() if numbers["metric"] == metric}
        if metric not in parts:
            part = next(iter(parts.values()))
            found[metric] = part | {
                "languages": {
                    code: {
                        "n": numbers["n"],
                        "documents": numbers["documents"],
                        **_whole(report, metric, code),
                    }
                    for code, numbers in part["languages"].items()
                }
            }
        found |= parts
    return found


def _whole(report: AlignmentReport, metric: str, code: str) -> dict[str, Any]:
    """Return the numbers of a metric in a language, its rows taken together, as an entry holds them."""
    parts = [result.values[code] for result in report.metrics.values() if result.metric == metric]
    layers = torch.stack([part.double() for part in parts]).mean(dim=0).numpy()
    scale = report.scale(metric)
    intervals = layer_intervals(report, layers, scale, code)
    score, (low, high) = report.score(metric, code), report.interval(metric, code)
    ends = (score, score) if low is None or high is None else (low, high)  # equal where it is not known
    lows, highs = zip(*intervals, ends, strict=True)
    return {
        "chance": report.chance(metric, code),
        "floor": report.floor(metric, code),
        "value": [*layers.mean(axis=1).tolist(), score],
        "low": list(lows),
        "high": list(highs),
    }


def _last_report(history: History) -> AlignmentReport | None:
    return history.report(history.steps[-1]) if history.entries else None


def _data(history: History, report: AlignmentReport | None) -> dict[str, Any]:
    """Return the content of the page, as `page.js` reads it."""
    first, last = history.entries[0], history.entries[-1]
    steps = history.steps
    span = (
        f"steps {steps[0]} to {steps[-1]}, {len(steps)} measurements" if len(steps) > 1 else "one measurement"
    )
    counts = {numbers["n"] for found in last["metrics"].values() for numbers in found["languages"].values()}
    languages = f"{len(history.languages)} language{'s' if len(history.languages) > 1 else ''}"
    return {
        "title": f"Alignment of {_title(history)} with {named_with_code(first['pivot'])}",
        "floor": _floor_note(report),
        "over": over_what([(one["n"], one.get("documents")) for one in _of_languages(last)]),
        "lead": f"{languages} × {count_range(counts)} pairs, {span}.",
        "verdict": verdict_of_entry(last),
        "losses": losses_of(history),
        "steps": steps,
        "labels": {
            code: with_unknown(named_with_code(code), unknown_in(last, code)) for code in history.languages
        },
        "metrics": {row: _of_row(history, row) for row in history.metrics},
        "worst": {} if report is None else _worst(report, history.metrics),
        "decisions": decisions_of(history),
        "improvement": improvement_of(history),
        "about": _about(history, report),
    }


def _of_languages(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the numbers of each language in the first row of an entry."""
    return list(next(iter(entry["metrics"].values()))["languages"].values())


def _worst(report: AlignmentReport, rows: Iterable[str]) -> dict[str, Any]:
    """Return row -> language -> the worst pairs with their text, and how many pairs share the worst score."""

    def of(row: str, code: str) -> dict[str, Any]:
        pairs, scores = report.worst_pairs(row, code, WORST), report.per_pair(row, code)
        return {"pairs": pairs, "tied": int((scores == pairs[0][1]).sum())}

    return {row: {code: of(row, code) for code in report.languages} for row in rows}


def _floor_note(report: AlignmentReport | None) -> str:
    """Say what the floor is; without a report it is not known whether sentences were written or spoken."""
    if report is None:
        return "the floor, the same score with no model at all"
    alone = "log-mel means" if report.pairs.is_audio else "shared tokens"
    return f"the {report.pairs.floor_name} floor, what {alone} give with no model at all"


def _about(history: History, report: AlignmentReport | None) -> dict[str, str]:
    """Return cost and provenance as text; what was not set is left out."""
    last = history.entries[-1]
    seconds = sum(entry["cost"]["seconds"] for entry in history.entries)
    about = {
        "model": last["model"] or None,
        "revision": last["revision"],
        "sentences": f"fingerprint {str(last['settings']['fingerprint'])[:16]}",
        **{
            name.replace("_", " "): ("yes" if value else "no") if isinstance(value, bool) else value
            for name, value in last["settings"].items()
            if name != "fingerprint"
        },
        "measuring took": f"{seconds:.1f} s"
        + (f" in all, {seconds / len(history.steps):.2f} s each" if len(history.steps) > 1 else ""),
        "history": history.path,
    }
    if report is not None:
        about["versions"] = ", ".join(f"{k} {v}" for k, v in report.provenance.get("versions", {}).items())
    return {name: str(value) for name, value in about.items() if value not in (None, "", [], {})}


def _title(history: History) -> str:
    """Return a name of what was measured: that of the model, or of the run's folder for many checkpoints."""
    models = {entry["model"] for entry in history.entries}
    if len(models) > 1 and history.path is not None:
        folder = history.path.resolve().parent
        return folder.parent.name if folder.name in (PUBLIC, PRIVATE) else folder.name
    model = history.entries[-1]["model"]
    if not model:
        return "a model"
    return Path(model).name if Path(model).is_absolute() else str(model)


def _of_row(history: History, row: str) -> dict[str, Any]:
    """Return the numbers of a row: in whole numbers of its last decimal where there are many of them."""
    found = [entry["metrics"][row] for entry in history.entries]
    scale = scale_in(history.entries[-1], row)
    decimals = decimals_of(scale, _numbers_in(found))
    emerged = {
        numbers["language"]: numbers for numbers in emergence(history, row) if numbers["layer"] == "mean"
    }

    def whole(values: Iterable[float]) -> list[int]:
        return [round(10**decimals * value) for value in values]

    languages = {}
    for code in history.languages:
        series = [one["languages"][code] for one in found]
        last = series[-1]
        languages[code] = {
            **{name: last[name] for name in ("n", "chance", "floor")},
            **{
                name: whole(numbers[key][-1] for numbers in series)
                for name, key in (("score", "value"), ("low", "low"), ("high", "high"))
            },
            "layer_low": whole(last["low"][:-1]),
            "layer_high": whole(last["high"][:-1]),
            "values": [whole(numbers["value"][:-1]) for numbers in series],
            "emergence": emerged[code],
            "sign": sign_of(_stands(history.entries[-1], code, last, scale), scale),
        }
    layers = [str(layer) for layer in found[-1]["layers"][:-1]]
    stacks = [place_of(layer)["stack"] for layer in layers]
    return {
        "name": scale.title,
        "unit": scale.unit,
        "decimals": decimals,
        "is_share": scale.is_share,
        "higher_is_better": scale.higher_is_better,
        "signs": signs_note([scale]),
        "definition": definition_of(found[-1].get("metric", row)),
        "layers": layers,
        "stack_starts": [at for at, stack in enumerate(stacks) if at == 0 or stack != stacks[at - 1]],
        "languages": languages,
    }


def _stands(entry: dict[str, Any], code: str, numbers: dict[str, Any], scale: Scale) -> Standing | None:
    """Return where the score of an entry stands: the last of its numbers."""
    interval = numbers["low"][-1], numbers["high"][-1]
    return standing(interval, bars_in(numbers), scale, unknown_in(entry, code))


def _numbers_in(found: list[dict[str, Any]]) -> Iterator[float]:
    """Yield every number of a row that the page draws."""
    for numbers in (numbers for entry in found for numbers in entry["languages"].values()):
        yield from (*numbers["value"], *numbers["low"], *numbers["high"])
        yield from bars_in(numbers)
