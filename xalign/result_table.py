"""`result_table`: an empty table of results, in the one form that all of them have in a terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text


def result_table(
    title: "str | Text", names: Sequence[str], numbers: Sequence[str], caption: "str | Text | None" = None
) -> "Table":
    """Return a rich table without rows, whose columns do not wrap.

    Args:
        title: What stands above it.
        names: Headers of the columns that begin at the left.
        numbers: Headers of those that end at the right.
        caption: What stands below it.

    Example:
        >>> [column.justify for column in result_table("Scores", ["language"], ["score"]).columns]
        ['left', 'right']
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(
        title=title,
        caption=caption,
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=0,
    )
    for header in names:
        table.add_column(header, no_wrap=True)
    for header in numbers:
        table.add_column(header, justify="right", no_wrap=True)
    return table
