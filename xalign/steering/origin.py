"""Where units come from: what is written into every set that a method finds."""

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from torch import nn

from xalign.errors import UnitsError
from xalign.model.layouts import Layout
from xalign.model.map import ModelMap, map_model


def shape_of(model_map: ModelMap) -> dict[str, Any]:
    """What a model must have for units to fit it: architecture, depth and widths."""
    return {
        "model_type": model_map.model_type,
        "n_layers": model_map.n_layers,
        "width": model_map.width,
        "ffn_width": model_map.ffn_width,
    }


def origin_of(
    model: nn.Module, texts: Mapping[str, Sequence[str]], method: str, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Model, revision, shape, method, settings and a fingerprint of the text."""
    config = getattr(getattr(model, "module", model), "config", None)
    layout = settings.get("layout")
    digest = hashlib.sha256(json.dumps({k: list(v) for k, v in texts.items()}).encode()).hexdigest()
    return {
        "model": str(getattr(config, "_name_or_path", "")),
        "revision": getattr(config, "_commit_hash", None),
        "shape": shape_of(map_model(model, layout)),
        "method": method,
        "settings": {name: value for name, value in settings.items() if not isinstance(value, Layout)},
        "texts": {label: len(sentences) for label, sentences in texts.items()},
        "fingerprint": digest,
        "xalign": version("xalign"),
    }


def refuse_unfit(provenance: Mapping[str, Any], model_map: ModelMap) -> None:
    """An error where units or vectors were found in a model of another shape.

    Raises:
        UnitsError: The shapes differ; what was made by hand has none, and fits where its sites do.
    """
    theirs, ours = provenance.get("shape"), shape_of(model_map)
    if theirs is not None and theirs != ours:
        differing = [name for name in ours if theirs.get(name) != ours[name]]
        raise UnitsError(
            f"they were found in {provenance.get('model') or 'another model'} and do not fit this one: "
            + ", ".join(f"{name} {theirs.get(name)} there, {ours[name]} here" for name in differing)
        )


def warn_about_shared_texts(texts: Mapping[str, Sequence[str]]) -> None:
    """Says how many texts stand under several labels: they are positives and negatives at once."""
    labels: dict[str, set[str]] = {}
    for label, sentences in texts.items():
        for text in sentences:
            labels.setdefault(text, set()).add(label)
    shared = sum(len(found) > 1 for found in labels.values())
    if shared:
        warnings.warn(
            f"{shared} text(s) stand under several labels, and speak for and against each; leave them out",
            UserWarning,
            stacklevel=3,
        )
