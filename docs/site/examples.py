"""Show the `Example:` of a docstring as code on the site: Griffe knows only `Examples:`."""

import re
from typing import Any

import griffe


class Examples(griffe.Extension):
    """Rename the section before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of an object."""
        if obj.docstring:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
