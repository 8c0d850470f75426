"""`carriers_of`: the module whose weights an edit at a site can be folded into."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from xalign.errors import ModelError
from xalign.exports.changed import Side
from xalign.exports.outputs import Outputs, Values, outputs_of
from xalign.model.architectures.kinds_of_module import is_linear, widths_of
from xalign.model.architectures.map import ModelMap, Place
from xalign.model.architectures.places import BlockPlaces
from xalign.model.architectures.sites import Site

_SUBLAYERS = ("mlp_out", "attn_out")


@dataclass(frozen=True, slots=True)
class Carrier:
    """A Linear or a LayerNorm beside a site.

    Attributes:
        path: Its path.
        module: The module.
        side: Whether the site is its input or its output.
        width: Number of values on that side.
        columns: Which columns of that are the site; None for all.
        adds: Whether its output is only added to what is at the site, so that only a constant can be folded.
    """

    path: str
    module: Any
    side: Side
    width: int
    columns: slice | None = None
    adds: bool = False


def carriers_of(sites: Iterable[Site], model: nn.Module, model_map: ModelMap) -> dict[Site, Carrier]:
    """Return for each site the module whose input or output it is.

    One forward pass shows which module gives the values at a site: the one whose output is bit-identical. A
    constant that is added to the hidden states after a block can be added by the last sub-layer of the block.

    Args:
        sites: The sites.
        model: The model.
        model_map: Its map.

    Raises:
        ModelError: There is none: no weight is beside the site, or the weights are shared or of experts.
    """
    sites = list(sites)
    for site in sites:
        _refuse_place(site, model_map.place(site))
    looked_at = {one for site in sites for one in (site, *_last_sublayer(site, model_map))}
    asked = [site for site in looked_at if not is_linear(model_map.place(site).module)]
    modules = [module for module in model.modules() if is_linear(module) or isinstance(module, nn.LayerNorm)]
    values, outputs = outputs_of(model, asked, modules) if asked else ({}, {})
    giving = _Giving(model, model_map, values, outputs)
    return {site: _carrier_of(site, model_map, giving) for site in sites}


def _refuse_place(site: Site, place: Place) -> None:
    if place.experts is not None:
        raise ModelError(
            f"site {site} is of the experts of a mixture, whose weights are one tensor for all experts; "
            "edits there are not exported, so keep to steer()"
        )
    if place.calls > 1:
        raise ModelError(
            f"site {site} is in {place.path}, which {place.calls} blocks share: an edit in its weights would "
            "act in all of them, so keep to steer()"
        )


def _last_sublayer(site: Site, model_map: ModelMap) -> list[Site]:
    """Return the site of what is added last to the hidden states of a block; nothing for other sites."""
    if site.kind != "hidden" or not isinstance(site.layer, int):
        return []
    block = _block_of(site, model_map)
    for kind in _SUBLAYERS:
        places = block.places.get(kind, ())
        if places:
            is_plain = places[-1].path not in block.factors and places[-1].calls == 1
            last = Site(kind, site.layer, site.stack, part=len(places) - 1)  # type: ignore[arg-type]
            return [last] if is_plain else []
    return []


def _block_of(site: Site, model_map: ModelMap) -> BlockPlaces:
    return model_map.stack(site.stack).blocks[int(site.layer or 0)]


@dataclass(frozen=True, slots=True)
class _Giving:
    """What was seen in a forward: which module gives what is at a site."""

    model: nn.Module
    model_map: ModelMap
    values: Values
    outputs: Outputs

    def at(self, site: Site) -> Carrier | None:
        """Return the module whose output is what is at a site, to the bit; those inside the place first."""
        place = self.model_map.place(site)
        if is_linear(place.module):
            width = widths_of(place.module)[0 if place.side == "input" else 1]
            return Carrier(place.path, place.module, place.side, width, place.columns)
        inside, wanted = set(place.module.modules()), self.values[site]
        same = [
            module
            for module, found in self.outputs.items()
            if found.shape == wanted.shape and found.device == wanted.device and torch.equal(found, wanted)
        ]
        for module in sorted(same, key=lambda module: module not in inside):
            path = next(name for name, one in self.model.named_modules() if one is module)
            return Carrier(path, module, "output", wanted.shape[-1])
        return None


def _carrier_of(site: Site, model_map: ModelMap, giving: _Giving) -> Carrier:
    found = giving.at(site)
    if found is not None:
        return found
    if site.kind != "hidden":
        raise ModelError(
            f"site {site} is {model_map.place(site)}, which no Linear gives as it is: something, such as a "
            "norm, comes after it. Edits there cannot be folded into weights; keep to steer(), or export "
            "'lm-eval'"
        )
    for below in _last_sublayer(site, model_map):
        found = giving.at(below)
        if found is not None:
            return Carrier(found.path, found.module, "output", found.width, adds=True)
    raise ModelError(
        f"site {site} cannot be changed by weights: no Linear adds what it gives to these states as it is, "
        "after all else. In Gemma a norm stands behind each sub-layer, and in a mixture several experts add. "
        "Keep to steer(), or export the vector as 'lm-eval' or, of blocks from 1 on, as 'gguf'"
    )
