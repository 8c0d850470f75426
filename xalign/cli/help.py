"""Help that fits the terminal and names strategies.

The names are filled in when the help is shown, because they are beside code that needs torch.
"""

import inspect
import re
from typing import Any

from typer.core import TyperCommand

_PLACES = ("metrics", "methods", "operators", "formats")


class HelpfulCommand(TyperCommand):
    """A command whose help may hold `{metrics}`, `{methods}`, `{operators}` or `{formats}`."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Fill the names in, join the lines of each paragraph, and write the help.

        typer keeps the line breaks of a docstring, and a narrow terminal then breaks each line once more.
        """
        self.help = re.sub(r"(?<!\n)\n *(?!\n)", " ", inspect.cleandoc(self.help or ""))
        for parameter in self.params:
            text = getattr(parameter, "help", None)
            if text and any(f"{{{name}}}" in text for name in _PLACES):
                shown: Any = parameter
                shown.help = text.format(**_names())
        super().format_help(ctx, formatter)


def _names() -> dict[str, str]:
    """Return the strategies that the command line knows. This imports torch, which takes seconds."""
    from xalign.exports import FORMATS
    from xalign.finding import METHODS
    from xalign.metrics import METRICS
    from xalign.model.operators import OPERATORS

    of_units = [name for name, operator in OPERATORS.items() if operator.of_units is not None]
    return {
        "metrics": ", ".join(name for name, metric in METRICS.items() if not metric.is_of_items),
        "methods": "; ".join(f"{name}: {method.summary}" for name, method in METHODS.items()),
        "operators": ", ".join(of_units),
        "formats": "; ".join(f"{name}: {format.summary}" for name, format in FORMATS.items()),
    }
