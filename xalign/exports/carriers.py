"""`carriers_of`: the projections that edits at some sites can be folded into."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from xalign.errors import ModelError
from xalign.exports.example import run_example
from xalign.exports.projection import Side
from xalign.model.architectures.kinds_of_module import is_linear, widths_of
from xalign.model.architectures.map import ModelMap, Place
from xalign.model.architectures.places import BlockPlaces
from xalign.model.architectures.sites import Site
from xalign.model.observe import observing
from xalign.model.visit import visit

_SUBLAYERS = ("mlp_out", "attn_out")
Seen = dict[Site, Tensor]


@dataclass(frozen=True, slots=True)
class Carrier:
    """A projection beside a site.

    Attributes:
        path: Its path.
        module: The projection.
        side: Whether the site is what it takes or what it gives.
        columns: Which columns of that are the site; None for all.
        adds: Whether its output is only added to what is at the site, so that a constant alone can be folded.
    """

    path: str
    module: Any
    side: Side
    columns: slice | None = None
    adds: bool = False

    @property
    def width(self) -> int:
        """Number of values of that side."""
        return widths_of(self.module)[0 if self.side == "input" else 1]


def carriers_of(sites: Iterable[Site], model: nn.Module, model_map: ModelMap) -> dict[Site, Carrier]:
    """Return for each site the projection that takes or gives what is there.

    A constant that is added to the hidden states after a block can be added by the last sub-layer of the
    block. Which Linear gives what a sub-layer adds is seen in one forward: the one with the same output, to
    the bit.

    Args:
        sites: The sites.
        model: The model.
        model_map: Its map.

    Raises:
        ModelError: There is none: the site is between no two weights, or they are shared or of experts.
    """
    sites = list(sites)
    for site in sites:
        _refuse_place(site, model_map.place(site))
    # What each site can be carried by, the likeliest first: sub-layers, each with the Linears inside.
    asked = {site: dict(_candidates(site, model_map)) for site in sites}
    looked_at = {
        one
        for candidates in asked.values()
        for below, inside in candidates.items()
        if inside
        for one in (below, *inside)
    }
    seen = _seen(model, looked_at)
    return {site: _chosen(site, asked[site], seen, model, model_map) for site in sites}


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


def _candidates(site: Site, model_map: ModelMap) -> Iterator[tuple[Site, list[Site]]]:
    """Yield the sites that stand for a site, each with the Linears inside that may give what is there."""
    if not isinstance(site.layer, int):
        if site.kind == "linear":
            yield site, []
        return
    block = model_map.stack(site.stack).blocks[site.layer]
    if site.kind != "hidden":
        yield site, _inside(block, model_map.place(site))
    else:
        for kind in _SUBLAYERS:
            for part, place in reversed(list(enumerate(block.places.get(kind, ())))):
                if place.path not in block.factors and place.calls == 1:
                    below = Site(kind, site.layer, site.stack, part=part)  # type: ignore[arg-type]
                    yield below, _inside(block, place)


def _inside(block: BlockPlaces, place: Place) -> list[Site]:
    """Return the Linears of a block that give as many values as a site has: those in its module first.

    The module may be a dropout behind them.
    """
    if is_linear(place.module):
        return []
    names = [
        f"{block.path}.{name}"
        for name, module in reversed(list(block.module.named_modules()))
        if name and is_linear(module) and widths_of(module)[1] == place.width
    ]
    names.sort(key=lambda name: not name.startswith(f"{place.path}."))
    return [Site("linear", name=name) for name in names]


def _seen(model: nn.Module, sites: Iterable[Site]) -> Seen:
    """Return the tensors at some sites in a forward on an example."""
    seen: Seen = {}
    if sites:
        with observing(model), visit(model, {site: partial(_keep, seen, site) for site in sites}):
            run_example(model)
    return seen


def _keep(seen: Seen, site: Site, values: Tensor) -> None:
    seen[site] = values.clone()


def _chosen(
    site: Site, candidates: dict[Site, list[Site]], seen: Seen, model: nn.Module, model_map: ModelMap
) -> Carrier:
    adds = site.kind == "hidden"
    for below, inside in candidates.items():
        place = model_map.place(below)
        if is_linear(place.module):
            return Carrier(place.path, place.module, place.side, None if adds else place.columns, adds)
        for one in inside:
            if one in seen and torch.equal(seen[one], seen[below]):
                return Carrier(str(one.name), model.get_submodule(str(one.name)), "output", adds=adds)
    if adds:
        raise ModelError(
            f"site {site} cannot be changed by weights: no Linear adds what it gives to these states as it "
            "is. Where a norm stands behind each sub-layer, as in Gemma, nothing can be added after it. Keep "
            "to steer(), or export the vector as 'lm-eval' or, of blocks from 1 on, as 'gguf'"
        )
    raise ModelError(
        f"site {site} is {model_map.place(site)}, which no Linear gives as it is: something, such as a norm, "
        "comes after it. Edits there cannot be folded into weights; keep to steer(), or export 'lm-eval'"
    )
