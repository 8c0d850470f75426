"""Saving a report together with its figures."""

import os
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from xalign.errors import ReportError
from xalign.results.report import AlignmentReport
from xalign.results.saved import REPORT
from xalign.views.heatmap import heatmap
from xalign.views.picture import check_replaceable, save_picture


def save_with_heatmaps(
    report: AlignmentReport, folder: Path, *, overwrite: bool = False, form: str = "png"
) -> list[Path]:
    """Save a report and, where matplotlib is installed, a heatmap per metric.

    Args:
        report: The report.
        folder: The folder to save in; created where it does not exist.
        overwrite: Replace a report and heatmaps that the folder already holds.
        form: "png", "svg" or "pdf".

    Returns:
        The files that were written.

    Raises:
        ReportError: The folder cannot be written, or it holds such files and `overwrite` is False.
    """
    drawn = check_heatmaps(folder, report.measured, overwrite=overwrite, form=form)
    written = [report.save(folder, overwrite=overwrite) / REPORT]
    if find_spec("matplotlib") is not None:
        for metric, path in zip(report.measured, drawn, strict=True):
            written.append(save_picture(heatmap(report, metric), path))
    return written


def check_heatmaps(folder: Path, metrics: Iterable[str], *, overwrite: bool, form: str = "png") -> list[Path]:
    """Return the paths of the heatmaps of some metrics, or refuse to replace what is there.

    Raises:
        ReportError: A file is there and `overwrite` is False, or what is there is no file.
    """
    drawn = [folder / f"{metric}.{form}" for metric in metrics]
    check_replaceable(drawn)
    there = [str(path) for path in drawn if os.path.lexists(path)]
    if there and not overwrite:
        raise ReportError(f"{', '.join(there)} exist already; name another folder, or pass overwrite=True")
    return drawn
