"""Saving a report together with its figures."""

from importlib.util import find_spec
from pathlib import Path

from xalign.errors import ReportError
from xalign.results.report import AlignmentReport
from xalign.results.saved import REPORT
from xalign.views.heatmap import heatmap


def save_with_heatmaps(report: AlignmentReport, folder: Path, *, overwrite: bool = False) -> list[Path]:
    """Save a report and, where matplotlib is installed, a heatmap per metric.

    Args:
        report: The report.
        folder: The folder to save in; created where it does not exist.
        overwrite: Replace a report and heatmaps that the folder already holds.

    Returns:
        The files that were written.

    Raises:
        ReportError: The folder cannot be written, or it holds such files and `overwrite` is False.
    """
    drawn = [folder / f"{metric}.png" for metric in report.measured]
    there = [str(path) for path in drawn if path.exists()]
    if there and not overwrite:
        raise ReportError(f"{', '.join(there)} exist already; name another folder, or pass overwrite=True")
    written = [report.save(folder, overwrite=overwrite) / REPORT]
    if find_spec("matplotlib") is not None:
        for metric, path in zip(report.measured, drawn, strict=True):
            heatmap(report, metric).savefig(path)
            written.append(path)
    return written
