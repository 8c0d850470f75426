"""Provenance: what is written into every set of units and every vector that is found."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from xalign.extras import own_version
from xalign.model.architectures.map import map_model
from xalign.model.wrapped import config_of
from xalign.pairs.audio import Audio
from xalign.units.compatibility import shape_of
from xalign.units.weights import digest_of_weights
from xalign.warn import warn


def origin_of(
    model: nn.Module, texts: Mapping[str, Sequence[str | Audio]], method: str, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return model, revision, shape, weights, method, settings and a fingerprint of the texts."""
    config, model_map = config_of(model), map_model(model)
    content = json.dumps({k: list(v) for k, v in texts.items()}, default=lambda one: {"audio": one.digest})
    digest = hashlib.sha256(content.encode()).hexdigest()
    return {
        "model": str(getattr(config, "_name_or_path", "")),
        "revision": getattr(config, "_commit_hash", None),
        "shape": shape_of(model_map),
        "weights": digest_of_weights(model_map),
        "method": method,
        "settings": dict(settings),
        "texts": {label: len(sentences) for label, sentences in texts.items()},
        "fingerprint": digest,
        "xalign": own_version(),
    }


def warn_about_shared_texts(texts: Mapping[str, Sequence[str | Audio]]) -> None:
    """Warn of texts that have several labels: they are positives and negatives at once."""
    labels: dict[str | Audio, set[str]] = {}
    for label, sentences in texts.items():
        for text in sentences:
            labels.setdefault(text, set()).add(label)
    shared = sum(len(found) > 1 for found in labels.values())
    if shared:
        warn(
            f"{shared} text(s) have several labels, so they are positives and negatives at once; leave them "
            "out"
        )
