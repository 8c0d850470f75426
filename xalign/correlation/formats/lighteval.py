"""Results of lighteval: `results_….json`."""

from collections.abc import Iterator
from typing import Any

from xalign.correlation.formats.format import Format, Found, numbers_of
from xalign.correlation.outcome import Identity


def _is_of(content: Any) -> bool:
    return (
        isinstance(content, dict)
        and isinstance(content.get("results"), dict)
        and isinstance(content.get("config_general"), dict)
    )


def _entries(content: Any) -> Iterator[Found]:
    """Yield the tasks; `all` is their mean."""
    general = content["config_general"]
    config = general.get("model_config")
    name = config.get("model_name") if isinstance(config, dict) else None
    name = name or general.get("model_name")
    identity = Identity.of(name if isinstance(name, str) else None)
    for task, numbers in content["results"].items():
        if task != "all" and isinstance(numbers, dict):
            yield Found(identity, str(task), numbers_of(numbers, ["_stderr"]))


LIGHTEVAL = Format("lighteval", _is_of, _entries)
