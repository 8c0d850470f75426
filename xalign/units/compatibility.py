"""Whether units or vectors found in one model fit another."""

from collections.abc import Mapping
from typing import Any

from xalign.errors import UnitsError
from xalign.model.architectures.map import ModelMap


def shape_of(model_map: ModelMap) -> dict[str, Any]:
    """What a model must have for units to fit it: architecture, depth and widths."""
    return {
        "model_type": model_map.model_type,
        "n_layers": model_map.n_layers,
        "width": model_map.width,
        "ffn_width": model_map.ffn_width,
    }


def check_compatible(provenance: Mapping[str, Any], model_map: ModelMap) -> None:
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
