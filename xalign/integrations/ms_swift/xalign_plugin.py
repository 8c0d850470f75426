"""The callback of ms-swift; `XALIGN_CONFIG` names a YAML file with a section `xalign`.

```bash
XALIGN_CONFIG=xalign.yaml swift sft ... --callbacks xalign \
    --external_plugins "$(python -m xalign.integrations.ms_swift)"
```
"""

import os
from typing import Any

from xalign.errors import ArgumentError
from xalign.integrations.framework import VARIABLE, part_of
from xalign.integrations.section import NAME, Section
from xalign.monitor.callback import AlignmentCallback


def read_section() -> Section:
    """Read what to measure, when ms-swift imports this file: before a model is loaded.

    Raises:
        ArgumentError: The variable names no such file, or asks for a loss.
    """
    path = os.environ.get(VARIABLE)
    if not path:
        raise ArgumentError(
            f"set {VARIABLE} to a YAML file with a section {NAME!r}; see docs/integrations.md"
        )
    section = Section.read(VARIABLE, path)
    section.refuse_align("ms-swift makes its trainer itself")
    return section


def register() -> None:
    """Let `--callbacks xalign` make the callback; ms-swift calls it with its arguments and its trainer."""
    section = read_section()

    def callback(args: Any, trainer: Any) -> AlignmentCallback:  # noqa: ARG001
        return section.callback()  # the trainer is not finished yet

    part_of("ms-swift", "swift.callbacks", "callbacks_map")[NAME] = callback


# Under which other name ms-swift imports a plugin depends on its version.
if not __name__.startswith("xalign."):
    register()
