"""Where a report comes from: model, sentences, every option, and versions."""

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from importlib.metadata import version
from typing import Any

from torch import nn

from xalign.extras import own_version
from xalign.identity import is_identified, record_of
from xalign.identity.digest import Digest
from xalign.measurement.options import ReadOptions, Steered
from xalign.metrics import METRICS
from xalign.metrics.metric import Compute, Metric
from xalign.model.architectures.map import ModelMap
from xalign.model.inputs import TextOptions
from xalign.model.inputs_for import Processing
from xalign.model.placement import device_of
from xalign.model.wrapped import base_model_of, config_of
from xalign.options import COMPARED, CONTINUED, must_agree
from xalign.pairs.parallel import ParallelPairs
from xalign.results.values import OWN_FUNCTIONS
from xalign.units.language_vector import LanguageVector
from xalign.warn import warn


def provenance_of(
    model: nn.Module,
    model_map: ModelMap,
    tokenizer: Processing,
    pairs: ParallelPairs[Any],
    metrics: Sequence[Metric],
    options: Sequence[TextOptions | ReadOptions],
    revision: str | None,
) -> dict[str, Any]:
    """Return everything that a report says about how it was made, as JSON values.

    Args:
        model: The model that is measured.
        model_map: Where its sites are.
        tokenizer: Its tokenizer.
        pairs: The sentences.
        metrics: The metrics. The functions of those that are not xalign's own are recorded.
        options: All options that say how text is encoded and read.
        revision: The revision of the model; if None, the one in its config.
    """
    config = config_of(model)
    standing_for = _standing_for(model, tokenizer)
    marks = {
        mark: [name for each in options for name in must_agree(type(each), mark)]
        for mark in (COMPARED, CONTINUED)
    }
    marks[CONTINUED].append(OWN_FUNCTIONS)
    return {
        "model": str(getattr(config, "_name_or_path", "")),
        "revision": revision or getattr(config, "_commit_hash", None),
        "model_class": type(model).__name__,
        "model_type": model_map.model_type,
        "layout": _plain(asdict(model_map.layout), {}),
        "n_layers": model_map.n_layers,
        "dtype": str(model_map.dtype).removeprefix("torch."),
        "device": str(device_of(model)),
        "tokenizer": str(getattr(tokenizer, "name_or_path", type(tokenizer).__name__)),
        "pairs": pairs.source,
        "fingerprint": pairs.fingerprint,
        **{
            one.name: _plain(getattr(each, one.name), standing_for)
            for each in options
            for one in fields(each)
        },
        OWN_FUNCTIONS: {row: record_of(one, standing_for) for row, one in _own_functions(metrics).items()},
        "must_agree": marks,
        "versions": {"xalign": own_version()}
        | {name: version(name) for name in ("torch", "transformers", "numpy")}
        | {"python": platform.python_version()},
    }


def notes_of(model_map: ModelMap, stack: str, marks: Mapping[str, str]) -> dict[str, Any]:
    """Return further notes of a report: the marks of the languages, and blocks that were not measured.

    Args:
        model_map: Where the sites are.
        stack: The stack that is read.
        marks: Language -> the code with which the tokenizer marks its sentences.
    """
    notes: dict[str, Any] = {"language_marks": dict(marks)} if marks else {}
    paths = model_map.not_run(stack)
    if paths:
        notes["blocks_not_run"] = paths
        warn(
            f"{', '.join(paths[:3])}{' …' if len(paths) > 3 else ''} stand among the blocks and are not "
            "measured: text alone does not run them, as those that attend to images, or they are no blocks; "
            "layers are counted without them"
        )
    return notes


def renewed_records(
    built: Mapping[str, Any],
    model: nn.Module,
    tokenizer: Processing,
    metrics: Sequence[Metric],
    steered: Steered | None,
) -> dict[str, Any]:
    """Return the records of the functions that every run calls, since what they are bound to may change.

    A function that could not be identified keeps its record, so that a measurement agrees with itself.

    Args:
        built: What `provenance_of` returned when the measurement was built.
        model: The model.
        tokenizer: Its tokenizer.
        metrics: The metrics.
        steered: The function that steers.
    """
    standing_for = _standing_for(model, tokenizer)

    def renewed(old: Any, function: Callable[..., Any]) -> Any:
        return record_of(function, standing_for) if is_identified(old) else old

    own = {row: renewed(built[OWN_FUNCTIONS][row], one) for row, one in _own_functions(metrics).items()}
    return {
        "steered": None if steered is None else renewed(built["steered"], steered),
        OWN_FUNCTIONS: own,
    }


def _own_functions(metrics: Sequence[Metric]) -> dict[str, Compute]:
    """Return row of the report -> function, of the metrics that are not xalign's own."""
    return {
        row: compute
        for metric in metrics
        if METRICS.get(metric.name) is not metric
        for row, compute in sorted(metric.rows.items())
    }


def _standing_for(model: nn.Module, tokenizer: Processing) -> dict[int, str]:
    """Return what a function may refer to without its content: the model itself, its parts, its tokenizer."""
    base = base_model_of(model)
    parts = {id(part): f"part {name} of the model" for name, part in base.named_modules()}
    return parts | {id(one): "the model" for one in (model, base)} | {id(tokenizer): "the tokenizer"}


def _plain(value: Any, standing_for: Mapping[int, str]) -> Any:
    """Return a value as JSON holds it: functions by record, vectors by their places and a digest."""
    if isinstance(value, Mapping):
        return {key: _plain(one, standing_for) for key, one in sorted(value.items())}
    if isinstance(value, LanguageVector):
        vectors = {str(reading): vector for reading, vector in value.readings.items()}
        digest = Digest({}).of(dict(sorted(vectors.items())))
        return {"label": value.label, "readings": ", ".join(vectors), "sha256": digest.hex()}
    if isinstance(value, list | tuple):
        return [_plain(one, standing_for) for one in value]
    return record_of(value, standing_for) if callable(value) else value
