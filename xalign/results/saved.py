"""Reports on disk: `report.json` beside one safetensors file."""

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from xalign.checks import whole_number
from xalign.errors import ArgumentTypeError, ReportError
from xalign.metrics import METRICS
from xalign.metrics.scale import Scale
from xalign.model.architectures.sites import Site
from xalign.pairs.parallel import ParallelPairs
from xalign.results.values import Cost, LanguageStats, MetricResult
from xalign.storage import load_folder, save_folder, writable_folder

if TYPE_CHECKING:
    from xalign.results.report import AlignmentReport

SCHEMA_VERSION = 1
_KIND = "xalign.AlignmentReport"
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
        "stats": {language: asdict(stats) for language, stats in report.stats.items()},
        "metrics": {row: _described(result) for row, result in report.metrics.items()},
        "pairs": report.pairs.to_dict(),
    }
    return save_folder(
        folder, REPORT, content, tensors, kind=_KIND, schema_version=SCHEMA_VERSION, error=ReportError
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

    def parse(content: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
        pairs = ParallelPairs.from_dict(content["pairs"])
        if pairs.fingerprint != content["provenance"].get("fingerprint", pairs.fingerprint):
            raise ReportError(f"{path}: its sentences are not those that were measured; the file was edited")
        whole_number("seed", content["seed"])
        return {
            "pairs": pairs,
            "metrics": {
                row: _result(row, saved, tensors, pairs) for row, saved in content["metrics"].items()
            },
            "stats": {language: LanguageStats(**stats) for language, stats in content["stats"].items()},
            "cost": Cost(**content["cost"]),
            "provenance": content["provenance"],
            "step": content["step"],
            "seed": content["seed"],
        }

    return load_folder(path, parse, kind=_KIND, schema_version=SCHEMA_VERSION, error=ReportError)


def described_scale(row: str, saved: Mapping[str, Any]) -> tuple[str, Scale]:
    """Return the name and the scale of the metric that a saved row belongs to.

    Files of 0.1.0 hold neither: their rows are those of the metrics that 0.1.0 had.

    Raises:
        ValueError: A row that names no scale and belongs to no known metric.
    """
    fields = saved.get("scale")
    if fields is not None:
        bounds = fields["bounds"]
        return saved["metric"], Scale(**{**fields, "bounds": None if bounds is None else tuple(bounds)})
    for metric in METRICS.values():
        if row in metric.rows:
            return metric.name, metric.scale
    raise ValueError(f"{row!r} has no scale and is a row of no metric that xalign knows")


def _described(result: MetricResult) -> dict[str, Any]:
    return {
        "metric": result.metric,
        "scale": asdict(result.scale),
        "layers": result.layers,
        "readings": result.readings,
        "chance": dict(result.chance),
    }


def _result(
    row: str, saved: dict[str, Any], tensors: dict[str, Tensor], pairs: ParallelPairs
) -> MetricResult:
    name, scale = described_scale(row, saved)
    has_floor = any(key.startswith(f"floors/{row}/") for key in tensors)
    chance = saved["chance"] if "chance" in saved else _chance_in_0_1_0(name, pairs)
    return MetricResult(
        name,
        scale,
        tuple(Site.parse(reading.rsplit(":", 2)[0]) for reading in saved["readings"]),
        tuple(saved["readings"]),
        _of_languages(tensors, f"values/{row}", pairs, len(saved["layers"])),
        _of_languages(tensors, f"floors/{row}", pairs, None) if has_floor else {},
        {language: chance[language] for language in pairs},
    )


def _chance_in_0_1_0(name: str, pairs: ParallelPairs) -> dict[str, float | None]:
    chance = METRICS[name].chance
    return {language: None if chance is None else chance(n) for language, n in pairs.counts.items()}


def _of_languages(
    tensors: dict[str, Tensor], name: str, pairs: ParallelPairs, n_sites: int | None
) -> dict[str, Tensor]:
    found = {language: tensors[f"{name}/{language}"] for language in pairs}
    for language, values in found.items():
        n = len(pairs[language])
        expected = (n,) if n_sites is None else (n_sites, n)
        if tuple(values.shape) != expected:
            raise ValueError(f"{name}/{language} has shape {tuple(values.shape)}, not {expected}")
    return found
