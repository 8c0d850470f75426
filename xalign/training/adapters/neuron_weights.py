"""`weights_of_neurons`: the rows and columns of a feed-forward network's weights that belong to neurons."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from xalign.errors import ArgumentError, ModelError
from xalign.model.architectures.kinds_of_module import is_linear, widths_of
from xalign.model.architectures.model_map import ModelMap
from xalign.model.architectures.places import Place
from xalign.model.architectures.sites import Site
from xalign.model.observe import observing
from xalign.model.run_example import run_example
from xalign.model.visit import visit

Weight = Literal["gate", "up", "down"]
WEIGHTS: tuple[Weight, ...] = get_args(Weight)
_NEURONS = ("gate", "act", "inner")
_CLOSE = 1e-3  # of a product in the model's own type


@dataclass(frozen=True, slots=True)
class Slices:
    """Part of a weight or bias.

    Attributes:
        module: The module that has it.
        path: Its path.
        name: `weight` or `bias`.
        dim: The dimension along which it is cut.
        index: Which rows, or columns, [neuron].
    """

    module: nn.Module
    path: str
    name: str
    dim: int
    index: Tensor


def weights_of_neurons(
    model: nn.Module, model_map: ModelMap, chosen: dict[Site, Tensor], weights: tuple[Weight, ...]
) -> list[Slices]:
    """Return the slices of neurons: rows of gate and up with their biases, and columns of down.

    One forward pass shows which projection is up: its product with the activated gate is the input of the
    down projection.

    Args:
        model: The model.
        model_map: Its map.
        chosen: For each `inner` site the neurons, [neuron].
        weights: Which of `"gate"`, `"up"` and `"down"`.

    Raises:
        ModelError: Weights that blocks share, that have an adapter or are quantised, or an up projection that
            cannot be identified.
    """
    found: list[Slices] = []
    for site, index in chosen.items():
        down = _checked_place(site, model_map)
        if "down" in weights:
            found.append(_slices(down.module, down.path, index, takes=True)[0])
        gate = model_map.place(_gate(site))
        if "gate" in weights:
            found += _slices(gate.module, gate.path, _moved(index, gate), takes=False)
    if "up" in weights:
        found += _of_up(model, model_map, chosen)
    return _joined(found)


def _joined(slices: list[Slices]) -> list[Slices]:
    """Return one for each weight: gate and up may be one matrix."""
    joined: dict[tuple[str, str], Slices] = {}
    for cut in slices:
        key = cut.path, cut.name
        before = joined.get(key)
        joined[key] = cut if before is None else replace(before, index=torch.cat([before.index, cut.index]))
    return list(joined.values())


def neuron_site(site: Site) -> Site:
    """Return the input of the down projection, where coordinate j is neuron j, as it is at the gate.

    Raises:
        ArgumentError: A site whose units are not neurons of a feed-forward network.
    """
    if site.kind not in _NEURONS:
        raise ArgumentError(
            f"units at site {site} are no neurons of a feed-forward network; give units at "
            f"{', '.join(_NEURONS)} sites"
        )
    return Site("inner", site.layer, site.stack, part=site.part)


def _checked_place(site: Site, model_map: ModelMap) -> Place:
    place = model_map.place(site)
    if place.calls > 1:
        raise ModelError(
            f"{place.path} is shared by {place.calls} blocks, so its columns are no neurons of one block; "
            "train a LoRA adapter instead"
        )
    return place


def _moved(index: Tensor, place: Place) -> Tensor:
    """Return the numbers of outputs of a module, for numbers of columns of a place in it."""
    if place.columns is None:
        return index
    return torch.arange(widths_of(place.module)[1])[place.columns][index]


def _slices(module: Any, path: str, index: Tensor, *, takes: bool) -> list[Slices]:
    """Return the slices of a projection that take some of its inputs, or give some of its outputs."""
    width_in, width_out = widths_of(module)
    if parametrize.is_parametrized(module):
        raise ModelError(f"{path} is trained in parts already; merge or remove these first")
    own: dict[str, nn.Parameter | None] = module._parameters
    weight = own.get("weight")
    if weight is None or not weight.is_floating_point() or weight.is_meta:
        raise ModelError(
            f"{path} has no plain weight, because it has an adapter, is quantised, or has no values: merge "
            "or remove the adapter, or load the model unquantised"
        )
    # A Linear keeps [out, in], and GPT-2's Conv1D [in, out].
    transposed = hasattr(module, "nf") and tuple(weight.shape) == (width_in, width_out)
    cut = Slices(module, path, "weight", int(takes != transposed), index)
    has_bias = own.get("bias") is not None and not takes
    return [cut, Slices(module, path, "bias", 0, index)] if has_bias else [cut]


def _of_up(model: nn.Module, model_map: ModelMap, chosen: dict[Site, Tensor]) -> Iterator[Slices]:
    """Yield the slices of up projections; nothing for a network that has none."""
    unseen: dict[Site, Tensor] = {}
    for site, index in chosen.items():
        gate = model_map.place(_gate(site))
        if gate.columns is None:
            unseen[site] = index
            continue
        every = torch.arange(widths_of(gate.module)[1])
        beside = every[~torch.isin(every, every[gate.columns])]
        if len(beside) != gate.width:
            raise ModelError(f"{gate.path} holds more than gate and up; leave 'up' out of weights")
        yield from _slices(gate.module, gate.path, beside[index], takes=False)
    seen = _seen(model, model_map, list(unseen)) if unseen else {}
    for site, path in seen.items():
        if path is not None:
            yield from _slices(model.get_submodule(path), path, unseen[site], takes=False)


def _seen(model: nn.Module, model_map: ModelMap, sites: list[Site]) -> dict[Site, str | None]:
    """Return the path of the up projection of each site, seen in one forward; None where there is none."""
    candidates = {site: _candidates(model, model_map, site) for site in sites}
    values: dict[Site, Tensor] = {}
    looked_at = [one for site in sites for one in (site, _gate(site))]
    looked_at += [Site("linear", name=path) for paths in candidates.values() for path in paths]
    fns = {one: partial(_keep, values, one) for one in looked_at}
    with torch.no_grad(), observing(model), visit(model, fns):
        run_example(model)
    found: dict[Site, str | None] = {}
    for site in sites:
        activated = model_map.activation(int(site.layer or 0), site.stack, site.part)(values[_gate(site)])
        products = {path: activated * values[Site("linear", name=path)] for path in candidates[site]}
        found[site] = _the_one(site, activated, products, values[site])
    return found


def _gate(site: Site) -> Site:
    return Site("gate", site.layer, site.stack, part=site.part)


def _keep(values: dict[Site, Tensor], site: Site, found: Tensor) -> None:
    values[site] = found.detach().float().clone()


def _candidates(model: nn.Module, model_map: ModelMap, site: Site) -> list[str]:
    """Return the paths of the other projections of a block that are as wide as the neurons."""
    block = model_map.stack(site.stack).blocks[int(site.layer or 0)]
    inside, gate, width = (
        set(block.module.modules()),
        model_map.place(_gate(site)),
        model_map.place(site).width,
    )
    return [
        path
        for path, module in model.named_modules()
        if module in inside
        and module is not gate.module
        and is_linear(module)
        and widths_of(module)[1] == width
    ]


def _the_one(site: Site, activated: Tensor, products: dict[str, Tensor], inner: Tensor) -> str | None:
    def is_it(value: Tensor) -> bool:
        return value.shape == inner.shape and torch.allclose(value, inner, rtol=_CLOSE, atol=_CLOSE)

    if is_it(activated):
        return None
    same = [path for path, value in products.items() if is_it(value)]
    if len(same) == 1:
        return same[0]
    raise ModelError(
        f"which projection is the up projection of {site} cannot be told ({', '.join(same) or 'none fits'}); "
        "leave 'up' out of weights"
    )
