"""Pictures on disk: written whole or not at all, and never through a link or into a pipe."""

from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from xalign.errors import ArgumentError, ReportError
from xalign.extras import import_extra
from xalign.storage import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMS = ("png", "svg", "pdf")


def figure_class() -> "type[Figure]":
    """Return a matplotlib figure class that needs no display, and whose figures a notebook shows.

    IPython shows matplotlib's own figures only where `matplotlib.pyplot` was imported.

    Raises:
        MissingExtraError: matplotlib is not installed.

    Example:
        >>> figure = figure_class()(figsize=(4, 3))
        >>> figure._repr_png_()[1]
        {'width': 400, 'height': 300}
    """
    figure = import_extra("matplotlib.figure", "plot", "figures need matplotlib")

    class Picture(figure.Figure):  # type: ignore[name-defined, misc]
        """A figure that a notebook shows."""

        def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
            """Return the figure as PNG, and its size on the page, with 100 pixels an inch."""
            drawn = BytesIO()
            self.savefig(drawn, format="png")
            width, height = self.get_size_inches()
            return drawn.getvalue(), {"width": round(100 * width), "height": round(100 * height)}

    return Picture


def check_replaceable(paths: Iterable[Path]) -> None:
    """Refuse paths where no file can be written, before any work is done.

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


def picture_form(path: Path) -> str:
    """Return the form of a picture that the ending of its file asks for.

    Raises:
        ArgumentError: Another ending than `.png`, `.svg` or `.pdf`.

    Example:
        >>> picture_form(Path("nasca.SVG"))
        'svg'
    """
    form = path.suffix.lower().removeprefix(".")
    if form not in FORMS:
        raise ArgumentError(
            f"path={str(path)!r:.300} must end in {', '.join(f'.{one}' for one in FORMS)}; .svg and .pdf "
            "can be scaled, and suit papers"
        )
    return form


def save_picture(figure: "Figure", path: Path) -> Path:
    """Write a figure as PNG, SVG or PDF, as the ending of its file says, and return its path.

    The same figure always gives the same file, because no date is written. Text in a PDF stays text
    (TrueType).

    Args:
        figure: A matplotlib figure.
        path: The file; replaced where it exists.

    Raises:
        ArgumentError: Another ending.
        ReportError: The file cannot be written.

    Example:
        >>> from xalign.views.heatmap import heatmap
        >>> save_picture(heatmap(report, "nasca"), Path("nasca.svg")).name
        'nasca.svg'
    """
    form = picture_form(path)
    check_replaceable([path])
    from matplotlib import rc_context

    drawn = BytesIO()
    without_date = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(form)
    with rc_context({"pdf.fonttype": 42, "svg.hashsalt": "xalign"}):
        figure.savefig(drawn, format=form, metadata=without_date)
    write_whole(path, drawn.getvalue(), ReportError)
    return path
