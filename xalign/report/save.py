"""A report on disk with its pictures."""

from importlib.util import find_spec
from pathlib import Path

from xalign.report.heatmap import heatmap
from xalign.results.report import AlignmentReport


def save_with_heatmaps(report: AlignmentReport, folder: Path, *, overwrite: bool = False) -> list[Path]:
    """Saves a report and, where matplotlib is installed, a heatmap per metric; returns what was written."""
    written = [report.save(folder, overwrite=overwrite) / "report.json"]
    if find_spec("matplotlib") is not None:
        for metric in report.measured:
            path = folder / f"{metric}.png"
            heatmap(report, metric).savefig(path)
            written.append(path)
    return written
