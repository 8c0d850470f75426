"""Reports on disk: `report.json` beside one safetensors file, whole or not at all."""

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
from torch import Tensor

from xalign.arguments import whole_number
from xalign.disk import values_file, writable_folder, write_whole
from xalign.errors import ArgumentTypeError, ReportError
from xalign.pairs.parallel import ParallelPairs
from xalign.results.values import Cost, LanguageStats, MetricResult

if TYPE_CHECKING:
    from xalign.results.report import AlignmentReport

SCHEMA_VERSION = 1
_KIND = "xalign.AlignmentReport"
REPORT = "report.json"


def check_folder(folder: str | Path, *, overwrite: bool = False) -> Path:
    """Makes a folder for a report and checks that it can be written: before the work, not after.

    Raises:
        ReportError: It cannot be written, is no folder, or already holds a report and `overwrite` is off.
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
    """Writes the tensors under a name made from their content, then the JSON that names them, in one step.

    What an interruption leaves is the old report or the new one.
    """
    folder = check_folder(folder, overwrite=overwrite)
    tensors = {
        f"{part}/{metric}/{language}": values.contiguous()
        for metric, result in report.metrics.items()
        for part, of_language in (("values", result.values), ("floors", result.floors))
        for language, values in of_language.items()
    }
    data = safetensors.torch.save(tensors)
    digest = hashlib.sha256(data).hexdigest()
    content = {
        "schema_version": SCHEMA_VERSION,
        "kind": _KIND,
        "step": report.step,
        "seed": report.seed,
        "scores": report.summary(),
        "provenance": report.provenance,
        "cost": asdict(report.cost),
        "stats": {language: asdict(stats) for language, stats in report.stats.items()},
        "metrics": {
            metric: {"layers": result.layers, "readings": result.readings}
            for metric, result in report.metrics.items()
        },
        "values": {"file": f"values-{digest[:12]}.safetensors", "sha256": digest},
        "pairs": report.pairs.to_dict(),
    }
    try:
        text = json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise ReportError(f"the report holds what JSON cannot: {error}; nothing was written") from None
    replaced = values_file(folder / REPORT)
    write_whole(folder / f"values-{digest[:12]}.safetensors", data)
    write_whole(folder / REPORT, text)
    # Only what this report replaces: another process may be saving here too.
    if replaced is not None and digest[:12] not in replaced.name:
        replaced.unlink(missing_ok=True)
    return folder


def load_parts(folder: str | Path) -> dict[str, Any]:
    """The fields of the report in a folder."""
    if not isinstance(folder, str | Path):
        raise ArgumentTypeError(f"folder must be a path, not {folder!r:.60}")
    path = Path(folder) / REPORT
    if not os.path.isfile(path):
        raise ReportError(
            f"{str(folder)!r} holds no report ({REPORT}); give the folder that report.save wrote"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["kind"] != _KIND or content["schema_version"] != SCHEMA_VERSION:
            raise ReportError(
                f"{path} is {content['kind']} of schema {content['schema_version']}; this xalign reads "
                f"{_KIND} of schema {SCHEMA_VERSION}"
            )
        data = (path.parent / Path(content["values"]["file"]).name).read_bytes()
        if hashlib.sha256(data).hexdigest() != content["values"]["sha256"]:
            raise ReportError(f"{content['values']['file']} does not belong to {path}: its sha256 differs")
        tensors = safetensors.torch.load(data)
        pairs = ParallelPairs.from_dict(content["pairs"])
        if pairs.fingerprint != content["provenance"]["fingerprint"]:
            raise ReportError(f"{path}: its sentences are not those that were measured; the file was edited")
        whole_number("seed", content["seed"])
        return {
            "pairs": pairs,
            "metrics": {
                metric: MetricResult(
                    tuple(saved["layers"]),
                    tuple(saved["readings"]),
                    _of_languages(tensors, f"values/{metric}", pairs, len(saved["layers"])),
                    _of_languages(tensors, f"floors/{metric}", pairs, len(saved["layers"])),
                )
                for metric, saved in content["metrics"].items()
            },
            "stats": {language: LanguageStats(**stats) for language, stats in content["stats"].items()},
            "cost": Cost(**content["cost"]),
            "provenance": content["provenance"],
            "step": content["step"],
            "seed": content["seed"],
        }
    except ReportError:
        raise
    except (
        *(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError),
        safetensors.SafetensorError,
    ) as error:
        raise ReportError(
            f"{path} is broken ({type(error).__name__}: {error}); save the report again"
        ) from None


def _of_languages(
    tensors: dict[str, Tensor], name: str, pairs: ParallelPairs, n_layers: int
) -> dict[str, Tensor]:
    found = {language: tensors[f"{name}/{language}"] for language in pairs}
    for language, values in found.items():
        n = len(pairs[language])
        expected = (n_layers, n) if name.startswith("values") else (n,)
        if tuple(values.shape) != expected:
            raise ValueError(f"{name}/{language} has shape {tuple(values.shape)}, not {expected}")
    return found
