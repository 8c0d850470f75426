"""Where a report comes from: model, sentences, every option, and versions."""

import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from importlib.metadata import version
from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase

from xalign.measurement.options import ReadOptions
from xalign.model.architectures.map import ModelMap
from xalign.model.inputs import TextOptions
from xalign.model.placement import device_of
from xalign.model.wrapped import config_of
from xalign.options import COMPARED, CONTINUED, must_agree
from xalign.pairs.parallel import ParallelPairs
from xalign.units.language_vector import LanguageVector


def provenance_of(
    model: nn.Module,
    model_map: ModelMap,
    tokenizer: PreTrainedTokenizerBase,
    pairs: ParallelPairs,
    options: Sequence[TextOptions | ReadOptions],
    revision: str | None,
) -> dict[str, Any]:
    """Return everything that a report says of how it was made, as JSON holds it.

    Args:
        model: The model that is measured.
        model_map: Where its sites are.
        tokenizer: Its tokenizer.
        pairs: The sentences.
        options: All options that say how text is encoded and read.
        revision: Of the model; that of its config where None.
    """
    config = config_of(model)
    marks = {
        mark: [name for each in options for name in must_agree(type(each), mark)]
        for mark in (COMPARED, CONTINUED)
    }
    return {
        "model": str(getattr(config, "_name_or_path", "")),
        "revision": revision or getattr(config, "_commit_hash", None),
        "model_class": type(model).__name__,
        "model_type": model_map.model_type,
        "layout": _plain(asdict(model_map.layout)),
        "n_layers": model_map.n_layers,
        "dtype": str(model_map.dtype).removeprefix("torch."),
        "device": str(device_of(model)),
        "tokenizer": str(getattr(tokenizer, "name_or_path", "")),
        "pairs": pairs.source,
        "fingerprint": pairs.fingerprint,
        **{one.name: _plain(getattr(each, one.name)) for each in options for one in fields(each)},
        "must_agree": marks,
        "versions": {name: version(name) for name in ("xalign", "torch", "transformers", "numpy")}
        | {"python": platform.python_version()},
    }


def _plain(value: Any) -> Any:
    """Return a value as JSON holds it: functions by name, vectors by their places and a checksum."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in sorted(value.items())}
    if isinstance(value, LanguageVector):
        digest = hashlib.sha256()
        for vector in value.vectors.values():
            digest.update(vector.detach().cpu().float().contiguous().numpy().tobytes())
        readings = ", ".join(str(reading) for reading in value.readings)
        return {"label": value.label, "readings": readings, "sha256": digest.hexdigest()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if callable(value):
        named = value if hasattr(value, "__qualname__") else type(value)
        return f"{named.__module__}.{named.__qualname__}"
    return value
