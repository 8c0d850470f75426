"""Reports on disk: `report.json` beside one safetensors file."""

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import UNSET
from msgspec.structs import asdict as struct_asdict
from torch import Tensor

from xalign.errors import ArgumentError, ArgumentTypeError, ReportError
from xalign.metrics import METRICS
from xalign.metrics.compute import within_bounds
from xalign.metrics.scale import Scale
from xalign.pairs.parallel import ParallelPairs
from xalign.results.fields import Origin, ReportFields, RowFields, ScaleFields
from xalign.results.tensors import check_bounds, check_nothing_left, site_of, values_of
from xalign.results.values import Cost, LanguageStats, MetricResult
from xalign.schema import checked
from xalign.storage import load_folder, save_folder, writable_folder

if TYPE_CHECKING:
    from xalign.results.report import AlignmentReport

SCHEMA_VERSION = 1
KIND = "xalign.AlignmentReport"
REPORT = "report.json"


def check_folder(folder: str | Path, *, overwrite: bool = False) -> Path:
    """Create a folder for a report, and check that it can be written before anything is measured.

    Raises:
        ReportError: The folder cannot be written, is not a folder, or already holds a report and `overwrite`
            is False.
    """
    folder = writable_folder(folder, ReportError)
    if (folder / REPORT).is_dir():
        raise ReportError(
            f"{folder / REPORT} is a folder, where a report's file belongs; name another folder"
        )
    if (folder / REPORT).exists() and not overwrite:
        raise ReportError(
            f"folder={str(folder)!r} already holds a report; name another one, or replace it "
            "with overwrite=True (--overwrite)"
        )
    return folder


def save_report(report: "AlignmentReport", folder: str | Path, *, overwrite: bool = False) -> Path:
    """Write a report, completely or not at all; see `AlignmentReport.save`."""
    folder = check_folder(folder, overwrite=overwrite)
    # A metric's function may return a view, and safetensors saves no two tensors that share memory.
    tensors = {
        f"{part}/{row}/{language}": values.clone()
        for row, result in report.metrics.items()
        for part, of_language in (("values", result.values), ("floors", result.floors))
        for language, values in of_language.items()
    }
    content = {
        "step": report.step,
        "seed": report.seed,
        "scores": report.summary(),
        "provenance": report.provenance,
        "cost": asdict(report.cost),
        "stats": {
            language: {name: value for name, value in asdict(stats).items() if value is not None}
            for language, stats in report.stats.items()
        },
        "metrics": {row: _described(result) for row, result in report.metrics.items()},
        "pairs": report.pairs.to_dict(),
    }
    return save_folder(
        *(folder, REPORT, content, tensors, _parse),
        kind=KIND,
        schema_version=SCHEMA_VERSION,
        error=ReportError,
    )


def load_parts(folder: str | Path) -> dict[str, Any]:
    """Return the fields of the report in a folder.

    Raises:
        ArgumentTypeError: `folder` is not a path.
        ReportError: The folder holds no report, a broken one, or one of another schema.
    """
    if not isinstance(folder, str | Path):
        raise ArgumentTypeError(f"folder must be a path, not {folder!r:.60}")
    path = Path(folder) / REPORT
    if not os.path.isfile(path):
        raise ReportError(
            f"{str(folder)!r} holds no report ({REPORT}); give the folder that report.save wrote"
        )
    return load_folder(path, _parse, kind=KIND, schema_version=SCHEMA_VERSION, error=ReportError)


def described_scale(row: str, metric: str | None, scale: ScaleFields | None) -> tuple[str, Scale]:
    """Return the name and the scale of the metric that a saved row belongs to.

    Files of 0.1.0 hold neither: their rows are those of the metrics that 0.1.0 had.

    Raises:
        ArgumentError: A row that names no scale and belongs to no known metric, or one of a known metric with
            another scale.
    """
    for known in METRICS.values():
        if row in known.rows and metric in (None, known.name):
            if scale is not None and not known.scale.agrees_with(scale.scale()):
                raise ArgumentError(f"metrics.{row}.scale is {scale.scale()}, and {row} means {known.scale}")
            if scale is None or metric is None:
                return known.name, known.scale
    if metric is not None and scale is not None:
        return metric, scale.scale()
    raise ArgumentError(f"metrics.{row} has no scale and is a row of no metric that xalign knows")


def _described(result: MetricResult) -> dict[str, Any]:
    return {
        "metric": result.metric,
        "scale": asdict(result.scale),
        "layers": result.layers,
        "readings": result.readings,
        "chance": dict(result.chance),
    }


def _parse(content: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Return the fields of a report, all of them checked."""
    from xalign.results.report import AlignmentReport

    found = checked(ReportFields, content)
    origin = checked(Origin, found.provenance, "provenance")
    pairs = ParallelPairs.from_dict(content["pairs"])
    if origin.fingerprint not in (None, pairs.fingerprint):
        raise ReportError("its sentences are not those that were measured; the file was edited")
    if not set(pairs) <= set(found.stats) <= {*pairs, pairs.pivot}:
        raise ArgumentError(f"stats are of {', '.join(found.stats) or 'none'}, not of {', '.join(pairs)}")
    parts: dict[str, Any] = {
        "pairs": pairs,
        "metrics": {row: _result(row, saved, tensors, pairs) for row, saved in found.metrics.items()},
        "stats": {code: LanguageStats(**struct_asdict(stats)) for code, stats in found.stats.items()},
        "cost": Cost(**struct_asdict(found.cost)),
        "provenance": found.provenance,
        "step": found.step,
        "seed": found.seed,
    }
    check_nothing_left(tensors, parts["metrics"])
    again = AlignmentReport(**parts).summary()
    for key, score in found.scores.items():
        if key in again and not math.isclose(again[key], score, rel_tol=1e-9, abs_tol=1e-9):
            raise ArgumentError(f"scores.{key}={score} is not {again[key]}, the mean of its values")
    # Files of earlier versions hold values such as 1.0000001, and the mean of these.
    parts["metrics"] = {row: _within_bounds(result) for row, result in parts["metrics"].items()}
    return parts


def _within_bounds(result: MetricResult) -> MetricResult:
    values, floors = (
        {language: within_bounds(found, result.scale) for language, found in of_language.items()}
        for of_language in (result.values, result.floors)
    )
    return replace(result, values=values, floors=floors)


def _result(row: str, saved: RowFields, tensors: Mapping[str, Tensor], pairs: ParallelPairs) -> MetricResult:
    name, scale = described_scale(row, saved.metric, saved.scale)
    has_floor = any(key.startswith(f"floors/{row}/") for key in tensors)
    chance = _chance_in_0_1_0(name, pairs) if saved.chance is UNSET else saved.chance
    if chance.keys() != pairs.keys():
        raise ArgumentError(f"metrics.{row}.chance is of {', '.join(chance)}, not of {', '.join(pairs)}")
    check_bounds(f"metrics.{row}.chance", [one for one in chance.values() if one is not None], scale)
    values = values_of(tensors, f"values/{row}", pairs, len(saved.layers), scale)
    sites = tuple(site_of(reading) for reading in saved.readings)
    result = MetricResult(
        name,
        scale,
        sites,
        tuple(saved.readings),
        values,
        values_of(tensors, f"floors/{row}", pairs, None, scale) if has_floor else {},
        dict(chance),
    )
    if list(result.layers) != saved.layers:
        raise ArgumentError(f"metrics.{row}.layers={saved.layers!r:.80} are not those of its readings")
    return result


def _chance_in_0_1_0(name: str, pairs: ParallelPairs) -> dict[str, float | None]:
    chance = METRICS[name].chance
    return {language: None if chance is None else chance(n) for language, n in pairs.counts.items()}
