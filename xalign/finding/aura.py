"""AURA: dampen each unit by how well it detects a language."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from xalign.checks import number, whole_number
from xalign.errors import ArgumentError
from xalign.finding.activations import Sites, activations, check_options, check_texts, site_names
from xalign.finding.method import Method
from xalign.finding.places import Places
from xalign.finding.provenance import origin_of, warn_about_shared_texts
from xalign.metrics.auroc import auroc
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.architectures.sites import Site
from xalign.model.inputs_for import Processing
from xalign.pairs.audio import Audio
from xalign.units.unit import FACTORS
from xalign.units.unit_set import UnitSet

Variant = Literal["aura", "det0", "damp"]
_CHANCE = 0.5


@takes_layout
def aura(
    model: nn.Module,
    tokenizer: Processing,
    texts: Mapping[str, Sequence[str | Audio]],
    sites: Sites = "inner",
    *,
    variant: Variant = "aura",
    k: int | None = None,
    factor: float = 0.5,
    **options: Any,
) -> UnitSet:
    """Find the factors that dampen a language: the better a unit detects it, the smaller its factor.

    Every unit with an AUROC above ½ gets the factor 1 − 2 (AUROC − ½); there is nothing to tune. The units'
    values are these factors, for `steer(..., operator="dampen")`.

    Args:
        model: The model; it is only read.
        tokenizer: Its tokenizer.
        texts: Label -> sentences, at least two labels; the others' sentences are a label's negatives.
        sites: Where to look: a kind (`"inner"`: the neurons of every block), a site, or a list of these.
        variant: `"aura"`; or for comparison `"det0"`, which silences the units, or `"damp"`, which multiplies
            all of them by the same `factor`.
        k: Take the units whose AUROC is strictly above the (k + 1)-th largest of all units. These are k, and
            fewer where units tie there. All above ½ if None.
        factor: The factor of `"damp"`.
        **options: `pool` (`"max"` by default, as in the paper), `state`, `pool_special_tokens`, `truncate`,
            `token_budget`, `site_bytes` and `experts` of `activations`.

    Returns:
        Per label its units, the best first. Scores are AUROC, values are factors.

    Raises:
        ArgumentError: Fewer than two labels, an unknown variant, a `k` that is not below the number of units,
            or a label with no unit to dampen.

    Reference:
        Suau et al. (2024), Whispering Experts: Neural Interventions for Toxicity Mitigation, §3; its code.

    Example:
        >>> texts = {"eng_Latn": ["It rains.", "Good night."], "deu_Latn": ["Es regnet.", "Gute Nacht."]}
        >>> units = aura(model, tokenizer, texts)
        >>> with steer(model, units["deu_Latn"], operator="dampen") as done:
        ...     _ = model(**batch)
    """
    check_texts(texts, least=2)
    check_options("aura", options)
    if variant not in get_args(Variant):
        raise ArgumentError(f"variant={variant!r:.60} must be one of {', '.join(get_args(Variant))}")
    warn_about_shared_texts(texts)
    options = {"pool": "max"} | options
    widths: dict[Site, int] = {}
    areas: list[Float[Tensor, "label unit"]] = []
    for of_site in activations(model, tokenizer, texts, sites, **options):
        widths[of_site.site] = of_site.values.shape[1]
        areas.append(torch.stack([auroc(of_site.values, of_site.of(one)) for one in range(len(texts))]))
    found = dict(zip(texts, torch.cat(areas, dim=1), strict=True))
    chosen = [_chosen(label, area, variant, k, factor) for label, area in found.items()]
    settings = {"sites": site_names(sites), "variant": variant, "k": k, "factor": factor, "value": FACTORS}
    return Places(widths).unit_set(list(texts), chosen, origin_of(model, texts, "aura", settings | options))


AURA = Method("aura", aura, "by what to multiply each unit so that a language is said less")


def _chosen(
    label: str, area: Float[Tensor, " unit"], variant: Variant, k: int | None, factor: float
) -> tuple[Tensor, ...]:
    """Return the units to dampen, the best detectors first, with their AUROC and their factors.

    Raises:
        ArgumentError: There is none.
    """
    factors = factors_of(area, variant=variant, k=k, factor=factor)
    units = (factors != 1).nonzero().squeeze(1)
    if not len(units):
        raise ArgumentError(f"no unit of {len(area)} is to be dampened for {label}: k={k}, factor={factor}")
    units = units[area[units].sort(descending=True, stable=True).indices]
    return units, area[units], factors[units]


def factors_of(
    area: Float[Tensor, " unit"], *, variant: Variant = "aura", k: int | None = None, factor: float = 0.5
) -> Float[Tensor, " unit"]:
    """Compute the factor of each unit from its AUROC; 1 where a unit is left alone.

    Args:
        area: AUROC per unit.
        variant: As in `aura`.
        k: As in `aura`.
        factor: As in `aura`.

    Raises:
        ArgumentError: A `k` that is not below the number of units.

    Example:
        >>> area = torch.tensor([1.0, 0.75, 0.75, 0.5])
        >>> factors_of(area).tolist(), factors_of(area, variant="det0", k=2).tolist()
        ([0.0, 0.5, 0.5, 1.0], [0.0, 1.0, 1.0, 1.0])
    """
    bar = _CHANCE
    if k is not None:
        k = whole_number("k", k, least=1)
        if k >= len(area):
            raise ArgumentError(
                f"k={k} must be below the number of units, {len(area)}; leave it out to take all"
            )
        bar = area.kthvalue(len(area) - k).values.item()
    same = {"det0": 0.0, "damp": number("factor", factor)}
    # A unit that detects nothing would be raised by the formula.
    factors = (
        torch.full_like(area, same[variant]) if variant in same else (1 - 2 * (area - _CHANCE)).clamp(max=1)
    )
    return torch.where(area > bar, factors, torch.ones_like(area))
