"""`train_units`: train chosen neurons and nothing else, exactly."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from xalign.checks import names, number, whole_number
from xalign.errors import ArgumentError, ArgumentTypeError, ModelError
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.architectures.map import ModelMap, map_model
from xalign.model.architectures.sites import Site
from xalign.model.distributed import is_sharded
from xalign.model.indices import check_inside
from xalign.training.adapters.neuron_weights import WEIGHTS, Slices, Weight, neuron_site, weights_of_neurons
from xalign.units.compatibility import check_compatible
from xalign.units.unit_set import UnitSet


class ChosenSlices(nn.Module):
    """A weight some of whose rows or columns are separate parameters.

    Args:
        weight: The weight.
        cut: Which rows or columns.
    """

    def __init__(self, weight: Tensor, cut: Slices) -> None:
        super().__init__()
        self.dim = cut.dim
        self.index: Tensor
        # Stored with the values, so that a checkpoint says whose values they are.
        self.register_buffer("index", cut.index.to(weight.device, copy=True))
        self.values = nn.Parameter(weight.detach().index_select(cut.dim, self.index))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight with the chosen slices in place."""
        return weight.index_copy(self.dim, self.index, self.values)


class ChosenLowRank(nn.Module):
    """A weight with a product of two small matrices added to its chosen rows or columns.

    Args:
        weight: The weight.
        cut: Which rows or columns.
        rank: The width of the product.
        scale: What the product is multiplied by.
    """

    def __init__(self, weight: Tensor, cut: Slices, rank: int, scale: float) -> None:
        super().__init__()
        self.dim, self.scale = cut.dim, scale
        self.index: Tensor
        self.register_buffer("index", cut.index.to(weight.device, copy=True))
        width = weight.shape[1 - cut.dim]
        self.a = nn.Parameter(torch.empty(rank, width, dtype=weight.dtype, device=weight.device))
        self.b = nn.Parameter(torch.zeros(len(cut.index), rank, dtype=weight.dtype, device=weight.device))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))  # as peft's LoRA

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight with the product added to the chosen slices."""
        added = self.scale * (self.b @ self.a)
        return weight.index_add(self.dim, self.index, added if self.dim == 0 else added.T)


@dataclass(frozen=True, slots=True)
class TrainedUnits:
    """Neurons of a model that are being trained.

    Attributes:
        model: The model.
        slices: What is trained, and in which weight.
    """

    model: nn.Module
    slices: Sequence[Slices]
    _flags: dict[str, bool] = field(repr=False)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The parameters of the neurons, for an optimizer."""
        return [one for cut in self.slices for one in _added_to(cut).parameters() if one.requires_grad]

    def merge(self) -> None:
        """Write the trained values into the model's weights, which is then an ordinary model again."""
        self._end(keep=True)

    def remove(self) -> None:
        """Drop the trained values; the model's weights are then bit-identical to what they were."""
        self._end(keep=False)

    def _end(self, *, keep: bool) -> None:
        for cut in self.slices:
            if not parametrize.is_parametrized(cut.module, cut.name):
                raise ModelError(f"the neurons of {cut.path} were merged or removed before")
        for cut in self.slices:
            parametrize.remove_parametrizations(cut.module, cut.name, leave_parametrized=keep)
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(self._flags.get(name, True))


def _added_to(cut: Slices) -> nn.Module:
    parametrizations: Any = cut.module.parametrizations
    added: nn.Module = parametrizations[cut.name][-1]
    return added


@takes_layout
def train_units(
    model: nn.Module,
    units: UnitSet,
    *,
    weights: Iterable[Weight] = WEIGHTS,
    rank: int | None = None,
    alpha: float = 16.0,
    modules_to_save: Sequence[str] = (),
) -> TrainedUnits:
    """Make chosen neurons of a model trainable, and nothing else.

    A neuron is a row of the gate and up projections with their biases, and a column of the down projection.
    The chosen ones become separate parameters; all others are frozen. So an optimizer changes nothing else,
    whatever its weight decay: the rest stays bit-identical.

    Call `merge` before the model is saved for others. Checkpoints made in between hold both the old weights
    and the trained slices; to load them, call `train_units` first.

    Args:
        model: The model, a plain one. It is changed in place.
        units: Neurons, at `inner`, `act` or `gate` sites, of one label or several.
        weights: Which of `"gate"`, `"up"` and `"down"` are trained, where a network has them.
        rank: Add a product of two matrices of this rank to the chosen slices of weights, as LoRA does; None
            trains the slices themselves, and biases.
        alpha: With a rank, the product is multiplied by alpha / rank.
        modules_to_save: Modules that are trained too, by the end of their path, such as a head, `"score"`.

    Returns:
        The trained neurons: their parameters, `merge` and `remove`.

    Raises:
        ArgumentError: No unit, units that are not neurons or not in the model, or an unknown module.
        UnitsError: Units of a model of another shape.
        ModelError: Weights that have an adapter, are quantised, split between processes or shared by blocks.

    Reference:
        Mondal et al. (2025), Language-specific Neurons Do Not Facilitate Cross-Lingual Transfer, §4: there
        `weights=["gate"], rank=8`.

    Example:
        >>> units = UnitSet.from_rows([("eng_Latn", "1.inner", 7, 0.9, 2.5)])
        >>> sum(one.numel() for one in train_units(model, units).parameters)
        65
    """
    weights, alpha = _checked_weights(weights), number("alpha", alpha)
    rank = None if rank is None else whole_number("rank", rank, least=1)
    if is_sharded(model):
        raise ModelError("the model's weights are split between processes; call train_units before that")
    model_map = map_model(model)
    slices = weights_of_neurons(model, model_map, _neurons(units, model_map), weights)
    if rank is not None:
        slices = [cut for cut in slices if cut.name == "weight"]
    kept = _modules(model, modules_to_save)
    flags = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    model.requires_grad_(requires_grad=False)
    for module in kept:
        module.requires_grad_(requires_grad=True)
    for cut in slices:
        _make_trainable(cut, rank, alpha)
    return TrainedUnits(model, tuple(slices), flags)


def _make_trainable(cut: Slices, rank: int | None, alpha: float) -> None:
    weight: Any = getattr(cut.module, cut.name)
    added = ChosenSlices(weight, cut) if rank is None else ChosenLowRank(weight, cut, rank, alpha / rank)
    parametrize.register_parametrization(cut.module, cut.name, added)


def _checked_weights(weights: Iterable[Weight]) -> tuple[Weight, ...]:
    given = names("weights", weights)
    unknown = [one for one in given if one not in WEIGHTS]
    if unknown or not given:
        raise ArgumentError(f"weights={list(given)!r:.60} must be some of {', '.join(WEIGHTS)}")
    return tuple(one for one in WEIGHTS if one in given)


def _neurons(units: object, model_map: ModelMap) -> dict[Site, Tensor]:
    """Return the neurons of each site, checked."""
    if not isinstance(units, UnitSet):
        raise ArgumentTypeError(f"units must be a UnitSet, not {type(units).__name__}")
    if not len(units):
        raise ArgumentError("units is empty; there is nothing to train")
    check_compatible(units.provenance, model_map)
    found: dict[Site, list[int]] = {}
    for site, rows in units.by_site().items():
        found.setdefault(neuron_site(site), []).extend(map(int, rows.columns.index))
    chosen = {site: torch.tensor(sorted(set(index))) for site, index in found.items()}
    for site, index in chosen.items():
        check_inside(site, model_map.place(site).width, index)
    return chosen


def _modules(model: nn.Module, wanted: Sequence[str]) -> list[nn.Module]:
    """Return the modules whose path is, or ends with, one of some names."""
    found: list[nn.Module] = []
    for name in names("modules_to_save", wanted):
        ending = [one for path, one in model.named_modules() if f".{path}".endswith(f".{name}")]
        if not ending:
            raise ArgumentError(f"modules_to_save names {name!r}, and the model has no such module")
        found += ending
    return found
