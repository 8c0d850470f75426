"""Results of lm-evaluation-harness: `results_….json`."""

import re
from collections.abc import Iterator
from typing import Any

from xalign.correlation.formats.format import Format, Found, numbers_of
from xalign.correlation.outcome import Identity


def _is_of(content: Any) -> bool:
    return isinstance(content, dict) and isinstance(content.get("results"), dict) and "configs" in content


def _entries(content: Any) -> Iterator[Found]:
    """Yield the tasks. Keys like `acc,none` name a score and its filter; averages of groups are no tasks."""
    identity = Identity.of(_model(content))
    for task, numbers in content["results"].items():
        if not isinstance(numbers, dict):
            continue
        found = numbers_of(numbers)
        scores: dict[str, float] = {}
        for key, value in found.items():
            name = key.partition(",")[0]
            if not name.endswith("_stderr") and name not in ("sample_len", "sample_count"):
                scores.setdefault(name, value)  # of several filters, the first
        yield Found(identity, str(task), scores)


def _model(content: dict[str, Any]) -> str | None:
    """Return the name of the model: of `pretrained=…` where it was given so."""
    given = content.get("config", {})
    arguments = given.get("model_args") if isinstance(given, dict) else None
    if isinstance(arguments, dict) and isinstance(arguments.get("pretrained"), str):
        return str(arguments["pretrained"])
    match = re.search(r"(?:^|,)pretrained=([^,]+)", arguments) if isinstance(arguments, str) else None
    name = match[1] if match else content.get("model_name")
    return name if isinstance(name, str) else None


LM_EVAL = Format("lm-eval", _is_of, _entries)
