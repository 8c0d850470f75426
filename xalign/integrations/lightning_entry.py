"""What Lightning asks for callbacks whenever a `Trainer` is made. It imports nothing heavy."""

import os
from typing import Any

from xalign.integrations.framework import VARIABLE


def callbacks() -> list[Any]:
    """Return nothing, unless the variable `XALIGN_CONFIG` names a YAML file with a section `xalign`.

    Raises:
        ArgumentError, ArgumentTypeError: The file cannot be read, or asks for something that there is not.
    """
    path = os.environ.get(VARIABLE)
    if not path:
        return []
    from xalign.integrations.lightning import LightningAlignment
    from xalign.integrations.section import Section

    return [LightningAlignment(**Section.read(VARIABLE, path).values)]
