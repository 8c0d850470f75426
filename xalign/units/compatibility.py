"""`check_compatible`: whether units or vectors found in one model fit another."""

from collections.abc import Mapping
from typing import Any

from xalign.errors import UnitsError
from xalign.model.architectures.map import ModelMap
from xalign.units.weights import digest_of_weights
from xalign.warn import warn


def shape_of(model_map: ModelMap) -> dict[str, Any]:
    """Return what must be equal in two models for units of one to fit the other."""
    return {
        "model_type": model_map.model_type,
        "n_layers": model_map.n_layers,
        "width": model_map.width,
        "ffn_width": model_map.ffn_width,
    }


def check_compatible(provenance: Mapping[str, Any], model_map: ModelMap) -> None:
    """Raise an error where units or vectors were found in a model of another shape; warn of other weights.

    Those made by hand record no shape. They fit wherever their sites exist. Other weights are no error: units
    of a model are used in its later checkpoints, too.

    Args:
        provenance: Where the units or vectors come from.
        model_map: The map of the model that they are meant for.

    Raises:
        UnitsError: Architecture, depth or widths differ.
    """
    theirs, ours = provenance.get("shape"), shape_of(model_map)
    if theirs is not None and theirs != ours:
        differing = [name for name in ours if theirs.get(name) != ours[name]]
        raise UnitsError(
            f"these units or vectors were found in {provenance.get('model') or 'another model'} and do "
            "not fit this one: "
            + ", ".join(f"{name} {theirs.get(name)} there, {ours[name]} here" for name in differing)
        )
    weights = provenance.get("weights")
    here = None if weights is None else digest_of_weights(model_map)
    if here is not None and here != weights:
        warn(
            f"these units or vectors were found in {provenance.get('model') or 'a model'}, which has other "
            f"weights than this model, {model_map.name}: coordinates may mean something else here. Find them "
            "again, unless this is another checkpoint of that model"
        )
