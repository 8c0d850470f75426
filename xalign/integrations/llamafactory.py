"""A launcher of LLaMA-Factory, whose config file may have a section `xalign`.

```bash
python -m xalign.integrations.llamafactory train.yaml learning_rate=1e-4
torchrun --nproc-per-node 8 -m xalign.integrations.llamafactory train.yaml
```
"""

import sys
from typing import Any

from xalign.errors import ArgumentError, XAlignError
from xalign.integrations.framework import part_of
from xalign.integrations.section import NAME, Section


def run() -> None:
    """Train as `llamafactory-cli train` does with the same arguments, with the callback beside its own.

    Raises:
        MissingExtraError: LLaMA-Factory is not installed.
        ArgumentError: No file is given, or it has no section.
    """
    config: Any = part_of("llamafactory", "llamafactory.hparams", "read_args")()
    if not isinstance(config, dict):
        raise ArgumentError(
            f"give a .yaml or .json file with a section {NAME!r}: python -m {__spec__.name} train.yaml, and "
            "what is to be changed in it as key=value"
        )
    asked = Section.of(config)
    asked.refuse_align("LLaMA-Factory makes its trainer itself and lets nobody choose its class")
    rest = {key: value for key, value in config.items() if key != NAME}
    part_of("llamafactory", "llamafactory.train.tuner", "run_exp")(args=rest, callbacks=[asked.callback()])


if __name__ == "__main__":
    try:
        run()
    except XAlignError as error:
        sys.exit(f"xalign: {error}")
