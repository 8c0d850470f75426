"""`edit_confusion_neurons`: silence neurons behind the wrong language, or copy them from a checkpoint."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.finding.provenance import origin_of
from xalign.model.architectures.map import ModelMap, map_model
from xalign.model.architectures.sites import Site
from xalign.model.indices import Indices, check_inside
from xalign.model.positions import Positions
from xalign.model.write import Edit
from xalign.steering.intervention import Intervention
from xalign.steering.interventions.down_columns import down_columns, down_site, exchange
from xalign.steering.interventions.same_size import generator_of, other_units
from xalign.units.compatibility import check_compatible, shape_of
from xalign.units.unit_set import UnitSet

_NEURONS = ("inner", "expert_inner")


def edit_confusion_neurons(
    model: nn.Module,
    units: UnitSet,
    *,
    mode: str = "zero",
    reference: nn.Module | None = None,
    positions: Positions = "all",
) -> Intervention:
    """Silence the neurons that make a model answer in the wrong language, or copy them from a checkpoint.

    With `"zero"`, the activations become (1 − s) times what they are, where s is the strength. At 1 that
    equals the published edit, which zeroes the neurons' columns of the down projection. With `"copy"`, these
    columns v become v + s · (v′ − v), with the columns v′ of the reference model. The weights themselves are
    not touched.

    Args:
        model: The model that is confused.
        units: The neurons, at `inner` sites, of one label or several; neurons of experts can only be
            silenced.
        mode: `"zero"` or `"copy"`.
        reference: For `"copy"`, a model of the same shape, such as a checkpoint that is not confused.
        positions: At which tokens, as in `write`.

    Returns:
        An intervention. Its control does the same to as many other neurons of the same blocks: it silences
        them, or changes their columns by the same vectors.

    Raises:
        ArgumentError: No unit, units of other kinds of sites, an unknown mode, or a reference that is missing
            or not wanted.
        UnitsError: Units or a reference of a model of another shape.

    Reference:
        Nie, Schmid and Schütze (2025), Mechanistic Understanding and Mitigation of Language Confusion, §5.

    Example:
        >>> units = UnitSet.from_rows([("eng_Latn", "1.inner", 7, 0.9, 2.5)])
        >>> with steer(model, edit_confusion_neurons(model, units)) as done:
        ...     _ = model(**batch)
        >>> done.tokens
        10
    """
    made, model_map = _resolved(mode), map_model(model)
    chosen = _chosen(units, model_map)
    changes = made.changes(model, model_map, chosen, reference)
    settings = {"mode": made.name, "neurons": sum(map(len, chosen.values()))}
    settings["reference"] = None if reference is None else map_model(reference).name
    name = f"edit_confusion_neurons {made.name} {' '.join(units.labels)}"
    return _intervention(name, changes, positions, origin_of(model, {}, "edit_confusion_neurons", settings))


def _resolved(mode: object) -> "_Mode":
    if not isinstance(mode, str) or mode not in _MODES:
        raise ArgumentError(f"mode={mode!r:.60} must be one of {', '.join(_MODES)}")
    return _MODES[mode]


def _chosen(units: object, model_map: ModelMap) -> "Chosen":
    """Return the neurons of each site, checked."""
    if not isinstance(units, UnitSet):
        raise ArgumentTypeError(f"units must be a UnitSet, not {type(units).__name__}")
    if not len(units):
        raise ArgumentError("units is empty; there is nothing to edit")
    check_compatible(units.provenance, model_map)
    chosen = {}
    for site, rows in units.by_site().items():
        if site.kind not in _NEURONS:
            raise ArgumentError(f"site {site} holds no neurons; give units at {' or '.join(_NEURONS)} sites")
        chosen[site] = torch.unique(Indices(rows.columns.index).tensor())
        check_inside(site, model_map.place(site).width, chosen[site])
    return chosen


@dataclass(frozen=True, slots=True)
class _Change:
    """What is done to some neurons of one site.

    Attributes:
        units: The neurons.
        width: How many the site has.
        down: The place of the output of their down projection, where their columns change.
        columns: What is added to their columns at strength 1; None where they are silenced.
    """

    units: Int[Tensor, " unit"]
    width: int
    down: Site | None = None
    columns: Float[Tensor, "unit width"] | None = None

    def edits(self, site: Site, strength: float) -> dict[Site, Edit]:
        """Return the edits at a strength."""
        if self.columns is None or self.down is None:
            return {site: Edit("affine", (1 - strength, 0.0), Indices(self.units.numpy()))}
        return exchange(site, self.down, self.units, strength * self.columns)


Changes = Mapping[Site, _Change]
Chosen = Mapping[Site, Tensor]


def _zero(model: nn.Module, model_map: ModelMap, chosen: Chosen, reference: nn.Module | None) -> Changes:  # noqa: ARG001
    if reference is not None:
        raise ArgumentError("reference= is for mode='copy'; leave it out, or copy")
    return {site: _Change(units, model_map.place(site).width) for site, units in chosen.items()}


def _copy(model: nn.Module, model_map: ModelMap, chosen: Chosen, reference: nn.Module | None) -> Changes:
    if not isinstance(reference, nn.Module):
        raise ArgumentError(
            f"mode='copy' needs reference=, a model of the same shape to copy from, not {reference!r:.60}"
        )
    theirs = map_model(reference)
    check_compatible({"shape": shape_of(theirs), "model": theirs.name}, model_map)
    changes = {}
    for site, units in chosen.items():
        down = down_site(model_map, site)
        added = down_columns(reference, theirs, site, units) - down_columns(model, model_map, site, units)
        changes[site] = _Change(units, model_map.place(site).width, down, added)
    return changes


@dataclass(frozen=True, slots=True)
class _Mode:
    """A way to edit neurons."""

    name: str
    changes: Callable[[nn.Module, ModelMap, Chosen, nn.Module | None], Changes]


_MODES: dict[str, _Mode] = {one.name: one for one in (_Mode("zero", _zero), _Mode("copy", _copy))}


def _intervention(
    name: str, changes: Changes, positions: Positions, origin: Mapping[str, object]
) -> Intervention:
    return Intervention(
        name, partial(_edits, changes), positions, origin, partial(_control, name, changes, positions, origin)
    )


def _edits(changes: Changes, strength: float) -> dict[Site, Edit]:
    found: dict[Site, Edit] = {}
    for site, one in changes.items():
        found |= one.edits(site, strength)
    return found


def _control(
    name: str, changes: Changes, positions: Positions, origin: Mapping[str, object], seed: int
) -> Intervention:
    elsewhere = {
        site: replace(one, units=other_units(one.units, one.width, site, generator_of(seed, name, site)))
        for site, one in changes.items()
    }
    return _intervention(f"{name} random {seed}", elsewhere, positions, {**origin, "method": "random"})
