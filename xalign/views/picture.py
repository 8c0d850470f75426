"""Pictures on disk: written whole or not at all, and never through a link or into a pipe."""

from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from xalign.errors import MissingExtraError, ReportError
from xalign.extras import install_command
from xalign.storage import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure_class() -> "type[Figure]":
    """Return matplotlib's class of figures, which needs no display.

    Raises:
        MissingExtraError: matplotlib is not installed.

    Example:
        >>> figure_class().__name__
        'Figure'
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError(f"figures need matplotlib: {install_command('plot')}") from None
    return Figure


def check_replaceable(paths: Iterable[Path]) -> None:
    """Refuse places where no file can be written, before the work that it is to show.

    Args:
        paths: The files that will be written. Where one is a link, the link is replaced.

    Raises:
        ReportError: A folder, a pipe, a device or a socket is there.
    """
    for path in paths:
        if path.exists() and not path.is_file():
            raise ReportError(
                f"{path} is no regular file but a folder, a pipe, a device or a socket; move it away, or "
                "name another folder"
            )


def save_picture(figure: "Figure", path: Path) -> Path:
    """Write a figure as PNG, and return its path.

    Args:
        figure: A matplotlib figure.
        path: The file; replaced where it exists.

    Raises:
        ReportError: The file cannot be written.

    Example:
        >>> from xalign.views.heatmap import heatmap
        >>> save_picture(heatmap(report, "nasca"), Path("nasca.png")).name
        'nasca.png'
    """
    check_replaceable([path])
    drawn = BytesIO()
    figure.savefig(drawn, format="png")
    write_whole(path, drawn.getvalue(), ReportError)
    return path
