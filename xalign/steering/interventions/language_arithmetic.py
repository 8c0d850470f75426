"""`language_arithmetic`: the neurons of one language activated, and those of another deactivated."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from xalign.checks import function_of, names, number
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.finding.activations import Activations, activations, check_texts
from xalign.finding.provenance import origin_of
from xalign.model.architectures.map import ModelMap, map_model
from xalign.model.architectures.sites import Site
from xalign.model.indices import Indices, check_inside
from xalign.model.positions import Positions
from xalign.model.user_function import errors_of
from xalign.model.write import Edit
from xalign.pairs.languages import match_language
from xalign.steering.intervention import Intervention
from xalign.steering.interventions.reading import check_reading
from xalign.steering.interventions.same_size import generator_of, other_units
from xalign.units.compatibility import check_compatible
from xalign.units.unit_set import UnitSet

ShiftFn = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Activation:
    """A way to activate neurons.

    Attributes:
        name: What users type.
        shift: (mean of the language [unit], mean of the others' means [unit]) -> what is written, at
            strength 1.
        adds: Whether that is added to the neuron's own value; if not, it replaces it.
        needs_others: Whether texts of other languages are read.
    """

    name: str
    shift: ShiftFn
    adds: bool = True
    needs_others: bool = False


ACTIVATIONS: dict[str, Activation] = {
    one.name: one
    for one in (
        Activation("additive", lambda own, others: own),  # noqa: ARG005
        Activation("replace", lambda own, others: own, adds=False),  # noqa: ARG005
        Activation("difference", lambda own, others: own - others, needs_others=True),
    )
}


def language_arithmetic(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    units: UnitSet,
    texts: Mapping[str, Sequence[str]],
    activate: str,
    deactivate: str | Sequence[str] = (),
    *,
    mode: str | Activation | ShiftFn = "additive",
    keep: float = 0.0,
    fill: float = 0.0,
    positions: Positions = "all",
    **options: Any,
) -> Intervention:
    """Activate the neurons of one language, and deactivate those of others.

    A deactivated neuron becomes keep · a + fill of its value a, whatever the strength s. An activated one
    becomes a + s · m (`"additive"`), s · m (`"replace"`), or a + s · (m − o) (`"difference"`); m is its mean
    in the language, and o the mean of its means in the others. A neuron of both is deactivated first.

    Args:
        model: The model; it is only read.
        tokenizer: Its tokenizer.
        units: The neurons of each language, as `find_units` gives them. Their stored values are not used.
        texts: Language -> sentences from which means are taken.
        activate: The language to activate.
        deactivate: The language or languages to deactivate; none where empty.
        mode: One of the names above, an `Activation`, or a function (m, o) -> what is added at strength 1.
        keep: Which share of its own value a deactivated neuron keeps; none by default.
        fill: What is added to that.
        positions: At which tokens, as in `write`.
        **options: Those of `activations` that are for reading, such as `token_budget`.

    Returns:
        An intervention. Its control changes as many other neurons of the sites by the same amounts.

    Raises:
        UnitsError: Units of another model.
        ArgumentError: A language without units or texts, an unknown mode, or too few languages for it.

    Reference:
        Gurgurov et al. (2025), Language Arithmetics, arXiv 2507.22608.

    Example:
        >>> texts = {"eng_Latn": ["It rains.", "Good night."], "deu_Latn": ["Es regnet.", "Gute Nacht."]}
        >>> units = find_units(model, tokenizer, texts, share=0.1)
        >>> german = language_arithmetic(model, tokenizer, units, texts, "deu_Latn", "eng_Latn")
        >>> with steer(model, german, strength=0.5):
        ...     _ = model(**batch)
    """
    check_reading("language_arithmetic", options)
    check_compatible(units.provenance, map_model(model))
    activation, (target, silenced) = _resolved(mode), _languages(units, activate, deactivate)
    own, read = _texts_of(target, texts, activation)
    found = activations(model, tokenizer, read, list(units[target].by_site()), pool="mean", **options)
    shifts = {one.site: _shift(one, own, list(read), activation) for one in found}
    changes = _changes(units, target, silenced, shifts, (keep, fill), activation, map_model(model))
    settings = {"activate": target, "deactivate": silenced, "mode": activation.name} | options
    origin = origin_of(model, read, "language_arithmetic", settings | {"keep": keep, "fill": fill})
    return _intervention(" -".join([f"arithmetic +{target}", *silenced]), changes, positions, origin)


@dataclass(frozen=True, slots=True)
class _Change:
    """What becomes of some units of one site: a · scale + fill + strength · boost.

    Attributes:
        units: The units.
        width: How many units the site has.
    """

    units: Int[Tensor, " unit"]
    scale: Float[Tensor, " unit"]
    fill: Float[Tensor, " unit"]
    boost: Float[Tensor, " unit"]
    width: int

    def edit(self, strength: float) -> Edit:
        """Return the edit at a strength."""
        return Edit("affine", (self.scale, self.fill + strength * self.boost), Indices(self.units.numpy()))

    def elsewhere(self, site: Site, generator: torch.Generator) -> "_Change":
        """Return the same amounts at as many other units."""
        others = other_units(self.units, self.width, site, generator)
        return replace(self, units=others)


def _resolved(mode: str | Activation | ShiftFn) -> Activation:
    if isinstance(mode, Activation):
        return mode
    if isinstance(mode, str) and mode in ACTIVATIONS:
        return ACTIVATIONS[mode]
    if callable(mode):
        function_of("mode", mode, "own", "others")
        return Activation(getattr(mode, "__name__", type(mode).__name__), mode, needs_others=True)
    raise ArgumentError(
        f"mode={mode!r:.60} must be one of {', '.join(ACTIVATIONS)}, an Activation, or a function (own, "
        "others) -> shift"
    )


def _languages(units: UnitSet, activate: str, deactivate: str | Sequence[str]) -> tuple[str, list[str]]:
    """Return the labels of the units to activate, and of those to deactivate."""
    listed = [deactivate] if isinstance(deactivate, str) else names("deactivate", deactivate)
    return _language("activate", activate, units), [_language("deactivate", one, units) for one in listed]


def _language(name: str, code: str, units: UnitSet) -> str:
    """Return the label of the units that a code means."""
    known = match_language(code, units.labels) if isinstance(code, str) else None
    if known is None:
        raise ArgumentError(f"{name}={code!r:.60} has no units; there are those of {', '.join(units.labels)}")
    return known


def _texts_of(
    target: str, texts: Mapping[str, Sequence[str]], activation: Activation
) -> tuple[str, dict[str, Sequence[str]]]:
    """Return the label of the language in the texts, and the texts that are read."""
    check_texts(texts)
    own = match_language(target, texts)
    if own is None:
        raise ArgumentError(f"texts has no {target!r}, which is activated; it has {', '.join(texts)}")
    if not activation.needs_others:
        return own, {own: texts[own]}
    check_texts(texts, least=2)
    return own, dict(texts)


def _shift(
    found: Activations, own: str, labels: Sequence[str], activation: Activation
) -> Float[Tensor, " unit"]:
    """Return what is written at strength 1, of every unit of a site."""
    # Each sentence's mean counts as often as it has tokens.
    weight = torch.stack([found.of(number) * found.tokens for number in range(len(labels))]).double()
    means = weight @ found.values.double() / weight.sum(dim=1, keepdim=True)
    at = labels.index(own)
    others = means[[number for number in range(len(labels)) if number != at]]
    with errors_of(f"mode {activation.name!r}"):
        shift = activation.shift(
            means[at], others.mean(dim=0) if len(others) else torch.zeros_like(means[at])
        )
    if not isinstance(shift, Tensor) or shift.shape != means[at].shape:
        raise ArgumentTypeError(f"mode {activation.name!r} must return a tensor [unit], not {shift!r:.60}")
    return shift.float()


def _changes(
    units: UnitSet,
    target: str,
    silenced: Sequence[str],
    shifts: Mapping[Site, Tensor],
    left: tuple[float, float],
    activation: Activation,
    model_map: ModelMap,
) -> dict[Site, _Change]:
    """Return what becomes of the units of each site."""
    off: dict[Site, set[int]] = {}
    for label in silenced:
        for site, rows in units[label].by_site().items():
            off.setdefault(site, set()).update(rows.columns.index.tolist())
    on = {site: Indices(rows.columns.index).tensor() for site, rows in units[target].by_site().items()}
    keep, fill = number("keep", left[0]), number("fill", left[1])
    changes = {}
    for site in dict.fromkeys([*on, *off]):
        width = model_map.place(site).width
        scales, fills, boosts = torch.ones(width), torch.zeros(width), torch.zeros(width)
        silent = torch.tensor(sorted(off.get(site, ())), dtype=torch.long)
        active = on.get(site, silent[:0])
        check_inside(site, width, silent, active)
        scales[silent], fills[silent] = keep, fill
        if site in on:
            boosts[active] = shifts[site][active]
            if not activation.adds:
                scales[active], fills[active] = 0, 0
        changed = torch.unique(torch.cat([silent, active]))
        changes[site] = _Change(changed, scales[changed], fills[changed], boosts[changed], width)
    return changes


def _intervention(
    name: str, changes: Mapping[Site, _Change], positions: Positions, origin: Mapping[str, Any]
) -> Intervention:
    def control(seed: int) -> Intervention:
        elsewhere = {
            site: one.elsewhere(site, generator_of(seed, name, site)) for site, one in changes.items()
        }
        return _intervention(f"{name} random {seed}", elsewhere, positions, {**origin, "method": "random"})

    def make(strength: float) -> dict[Site, Edit]:
        return {site: one.edit(strength) for site, one in changes.items()}

    return Intervention(name, make, positions, origin, control)
