"""`check_compatible`: whether units or vectors found in one model fit another."""

from collections.abc import Mapping
from typing import Any

from xalign.errors import UnitsError
from xalign.model.architectures.map import ModelMap
from xalign.units.weights import digest_of_weights
from xalign.warn import warn

_OF_EXPERTS = {"n_experts", "expert_width"}


def shape_of(model_map: ModelMap) -> dict[str, Any]:
    """Return what must be equal in two models for units of one to fit the other."""
    shape = {
        "model_type": model_map.model_type,
        "n_layers": model_map.n_layers,
        "width": model_map.width,
        "ffn_width": model_map.ffn_width,
    }
    return shape if model_map.refused("expert_inner") else shape | _shape_of_experts(model_map)


def _differing(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """Return the names of what differs. What was saved before experts could be read says nothing of them."""
    unknown = _OF_EXPERTS - theirs.keys()
    names = dict.fromkeys([*ours, *theirs])
    return [name for name in names if name not in unknown and theirs.get(name) != ours.get(name)]


def _shape_of_experts(model_map: ModelMap) -> dict[str, Any]:
    """Return number and width of the experts of a mixture, which say what a coordinate there is."""
    places = [model_map.place(site) for site in model_map.sites("expert_inner")]
    sizes = {(one.experts.count, one.width // one.experts.count) for one in places if one.experts is not None}
    counts, widths = ("/".join(map(str, found)) for found in zip(*sorted(sizes), strict=True))
    if len(sizes) > 1:
        return {"n_experts": counts, "expert_width": widths}
    return {"n_experts": int(counts), "expert_width": int(widths)}


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
    differing = [] if theirs is None else _differing(theirs, ours)
    if theirs is not None and differing:
        raise UnitsError(
            f"these units or vectors were found in {provenance.get('model') or 'another model'} and do "
            "not fit this one: "
            + ", ".join(f"{name} {theirs.get(name)} there, {ours.get(name)} here" for name in differing)
        )
    weights = provenance.get("weights")
    here = None if weights is None else digest_of_weights(model_map)
    if here is not None and here != weights:
        warn(
            f"these units or vectors were found in {provenance.get('model') or 'a model'}, which has other "
            f"weights than this model, {model_map.name}: coordinates may mean something else here. Find them "
            "again, unless this is another checkpoint of that model"
        )
