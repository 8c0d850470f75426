"""Records of Every Eval Ever: one JSON object per model and evaluation."""

from collections.abc import Iterator
from typing import Any

from xalign.correlation.formats.format import Format, Found, numbers_of
from xalign.correlation.outcome import Identity
from xalign.correlation.tasks import language_of_name


def _is_of(content: Any) -> bool:
    return isinstance(content, dict) and isinstance(content.get("evaluation_results"), list)


def _entries(content: Any) -> Iterator[Found]:
    """Yield the results. A result named after a language is that language's of the data set it names."""
    info = content.get("model_info")
    identity = Identity.of(str(info.get("id") or info.get("name")) if isinstance(info, dict) else None)
    for result in content["evaluation_results"]:
        if not isinstance(result, dict):
            continue
        name = str(result.get("evaluation_name"))
        details = result.get("score_details")
        score = numbers_of(details).get("score") if isinstance(details, dict) else None
        source, config = result.get("source_data"), result.get("metric_config")
        benchmark = source.get("dataset_name") if isinstance(source, dict) else None
        language = language_of_name(name) if isinstance(benchmark, str) else None
        scores = {} if score is None else {_metric(config): score}
        yield Found(identity, name, scores, language, None if language is None else str(benchmark))


def _metric(config: Any) -> str:
    """Return the name of the metric, where the record has one."""
    name = config.get("metric_name") or config.get("metric_id") if isinstance(config, dict) else None
    return str(name or "score")


EVERY_EVAL_EVER = Format("Every Eval Ever", _is_of, _entries)
