"""Names and sentences as data: nothing in them acts on a terminal, a table, a card or a figure."""

import re

from rich.text import Text

from xalign.errors import show_controls

# What Markdown or HTML would read as more than text; `_` between letters is text.
_MARKS = re.compile(r"[\\`*<>\[\](){}|&~!$#@]|(?<![^\W_])_|_(?![^\W_])|(?<=www)\.|:(?=//)", re.IGNORECASE)


def plain(text: object) -> str:
    r"""Return a text on one line in which characters that control a terminal are shown, not obeyed.

    Example:
        >>> print(plain("red \x1b[31m"))
        red \x1b[31m
    """
    return show_controls(str(text)).replace("\n", r"\n")


def cell(text: object) -> Text:
    """Return a text that rich prints as it is: in a cell of a table, a title or a caption.

    Example:
        >>> cell("[red] :warning:").plain
        '[red] :warning:'
    """
    return Text(plain(text))


def markdown(text: object) -> str:
    """Return a text that Markdown and HTML show as it is, in one paragraph, heading or cell of a table.

    Example:
        >>> markdown("deu_Latn"), markdown("a|b")
        ('deu_Latn', 'a&#124;b')
    """
    shown = re.sub(r"\A(\d+)\.(?=\s|\Z)", r"\1&#46;", _MARKS.sub(_entity, plain(text)))
    return re.sub(r"\A[-+=\s]", _entity, shown)


def code(text: object) -> str:
    """Return a text as inline code of Markdown, which it cannot end.

    Example:
        >>> code("expert_ap"), code("a`b")
        ('`expert_ap`', '`` a`b ``')
    """
    shown = plain(text)
    longest = max((len(run) for run in re.findall("`+", shown)), default=0)
    if not longest:
        return f"`{shown}`" if shown.strip() else f"` {shown} `"
    fence = "`" * (longest + 1)
    return f"{fence} {shown} {fence}"


def figure_text(text: object) -> str:
    r"""Return a text that matplotlib draws as it is: a dollar sign does not begin a formula.

    Example:
        >>> print(figure_text("cost in $"))
        cost in \$
    """
    return plain(text).replace("$", r"\$")


def _entity(found: re.Match[str]) -> str:
    return f"&#{ord(found[0])};"
