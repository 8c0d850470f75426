"""Neurons by how often, or how strongly, a language activates them, and values to fill in at test time.

After Mondal et al. (2025), Language-specific Neurons Do Not Facilitate Cross-Lingual Transfer, and its code.
A neuron exceeds its own 90th percentile at about a tenth of the tokens whatever it does. So when neurons are
ranked by the share of tokens above their own percentile, little but differences between batches tells them
apart.

Example:
    >>> texts = {"eng_Latn": ["It rains.", "Good night."], "deu_Latn": ["Es regnet.", "Gute Nacht."]}
    >>> activation_probability(model, tokenizer, texts, k=3, fill="p90")
    UnitSet(eng_Latn 3, deu_Latn 3)
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from xalign.checks import boolean, known_options, number
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.finding.activations import check_texts
from xalign.finding.choice import choose_by
from xalign.finding.method import Method
from xalign.finding.places import Places
from xalign.finding.provenance import origin_of, warn_about_shared_texts
from xalign.finding.token_values import TokenValues, token_values
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.architectures.map import ModelMap, map_model
from xalign.model.architectures.sites import Site
from xalign.model.inputs_for import Processing
from xalign.pairs.audio import Audio
from xalign.units.unit_set import UnitSet

Statistic = Literal["act_prob_zero", "act_prob_75p", "act_prob_90p", "act_prob_95p", "act_abs_mean"]
PercentileOf = Literal["all", "own"]
_PERCENTILES = {"act_prob_75p": 75.0, "act_prob_90p": 90.0, "act_prob_95p": 95.0}
_FILLS = {"p5": 5.0, "p10": 10.0, "p25": 25.0, "p50": 50.0, "p75": 75.0, "p90": 90.0, "p95": 95.0}
_OPTIONS = ("pool_special_tokens", "truncate", "source_codes", "token_budget", "experts")
_SHARE = 0.00125
_BATCH = 8  # sentences, of which percentiles are averaged


@takes_layout
def activation_probability(
    model: nn.Module,
    tokenizer: Processing,
    texts: Mapping[str, Sequence[str | Audio]],
    *,
    statistic: Statistic = "act_prob_zero",
    share: float | None = None,
    k: int | None = None,
    fill: str | float = "mean",
    percentile_of: PercentileOf = "all",
    compat_mondal: bool = False,
    **options: Any,
) -> UnitSet:
    """Find the neurons that each language activates most, whatever the other languages do.

    All is measured at the gate, before its activation function, over the tokens of a language.

    Args:
        model: The model; it is only read.
        tokenizer: Its tokenizer.
        texts: Label -> sentences.
        statistic: What neurons are ranked by: `"act_prob_zero"`, the share of tokens whose gate is above 0;
            `"act_prob_75p"`, `"act_prob_90p"`, `"act_prob_95p"`, above that percentile of its values; or
            `"act_abs_mean"`, the mean of its absolute value.
        share: Take this share of all neurons for each label; .00125 without `k`.
        k: Take this many for each label.
        fill: The value to set a neuron to: the `"mean"` of the gate over the label's tokens, a percentile
            `"p5"`, `"p10"`, `"p25"`, `"p50"`, `"p75"`, `"p90"`, `"p95"`, or a number.
        percentile_of: Percentiles over the tokens of `"all"` labels; or of the label's `"own"`, averaged over
            batches, as in the paper's code, which ranks neurons mostly by chance.
        compat_mondal: Write values after the activation function (site `act`), as the paper's code does, and
            not before it, where they are measured.
        **options: `pool_special_tokens`, `truncate`, `source_codes`, `token_budget`, `experts` as in
            `token_values`.

    Returns:
        Per label its neurons, the best first; of equal ones the lower layer and index.

    Raises:
        ArgumentError: An unknown statistic, fill or `percentile_of`, or a wrong choice.
        ModelError: `compat_mondal` for a model whose activation function is not a module.
    """
    check_texts(texts)
    known_options("activation_probability", options, _OPTIONS)
    choice = choose_by(share=_SHARE if share is None and k is None else share, k=k)
    settings = {"statistic": statistic, "fill": fill, "percentile_of": percentile_of}
    _check(**settings)
    settings |= {"compat_mondal": boolean("compat_mondal", compat_mondal), choice.by: choice.amount} | options
    warn_about_shared_texts(texts)
    found = token_values(model, tokenizer, texts, "gate", **options)
    sites, score, value = _measured(found, len(texts), statistic, fill, percentile_of)
    best = [choice.best(row) for row in score]
    chosen = [(units, score[number, units], value[number, units]) for number, units in enumerate(best)]
    places = _behind(sites, map_model(model)) if compat_mondal else sites
    origin = origin_of(model, texts, "activation_probability", settings)
    return Places(places).unit_set(list(texts), chosen, origin)


ACTIVATION_PROBABILITY = Method(
    "activation_probability",
    activation_probability,
    "neurons that a language activates most often or most strongly, whatever the others do",
    sets=("sites", "pool", "state", "site_bytes"),
)


def _measured(
    found: Iterable[TokenValues],
    labels: int,
    statistic: Statistic,
    fill: str | float,
    percentile_of: PercentileOf,
) -> tuple[dict[Site, int], Float[Tensor, "label unit"], Float[Tensor, "label unit"]]:
    """Return the width of each site, and per label and unit of all sites the statistic and the value."""
    widths, scores, values = dict[Site, int](), list[Tensor](), list[Tensor]()
    for of_site in found:
        widths[of_site.site] = of_site.values.shape[1]
        scores.append(_scores(of_site, labels, statistic, percentile_of))
        values.append(torch.stack([_filled(of_site.values[of_site.of(one)], fill) for one in range(labels)]))
    return widths, torch.cat(scores, dim=1), torch.cat(values, dim=1)


def _behind(sites: Mapping[Site, int], model_map: ModelMap) -> dict[Site, int]:
    """Return the outputs of the activation functions of gates.

    Raises:
        ModelError: One is no module.
    """
    acts = {replace(site, kind="act"): width for site, width in sites.items()}
    for site in acts:
        model_map.place(site)
    return acts


def _check(statistic: object, fill: object, percentile_of: object) -> None:
    """Raise an error for a statistic, a fill or a percentile that is not known."""
    if statistic not in get_args(Statistic):
        raise ArgumentError(f"statistic={statistic!r:.60} must be one of {', '.join(get_args(Statistic))}")
    if percentile_of not in get_args(PercentileOf):
        raise ArgumentError(f"percentile_of={percentile_of!r:.60} must be all or own")
    if isinstance(fill, str):
        if fill not in ("mean", *_FILLS):
            raise ArgumentError(f"fill={fill!r:.60} must be mean, {', '.join(_FILLS)}, or a number")
    elif isinstance(fill, bool):
        raise ArgumentTypeError(f"fill={fill!r} must be mean, {', '.join(_FILLS)}, or a number")
    else:
        number("fill", fill)


def _scores(
    found: TokenValues, labels: int, statistic: Statistic, percentile_of: PercentileOf
) -> Float[Tensor, "label unit"]:
    """Return the statistic of each label and unit."""
    bars: list[Tensor | float] = [0.0] * labels
    if statistic in _PERCENTILES:
        q = _PERCENTILES[statistic]
        if percentile_of == "all":
            bars = [percentiles(found.values, q)] * labels
        else:
            bars = [_own_percentiles(found, one, q) for one in range(labels)]
    own = [found.values[found.of(one)] for one in range(labels)]
    if statistic == "act_abs_mean":
        return torch.stack([values.abs().double().mean(dim=0) for values in own])
    return torch.stack([(values > bar).double().mean(dim=0) for values, bar in zip(own, bars, strict=True)])


def _own_percentiles(found: TokenValues, label: int, q: float) -> Float[Tensor, " unit"]:
    """Return the percentile of a label's values, averaged over batches of its sentences."""
    is_own = found.of(label)
    values, batch = found.values[is_own], found.sentence[is_own] // _BATCH
    return torch.stack([percentiles(values[batch == one], q) for one in torch.unique(batch)]).mean(dim=0)


def _filled(values: Float[Tensor, "token unit"], fill: str | float) -> Float[Tensor, " unit"]:
    """Return the value to write for each unit."""
    if isinstance(fill, str):
        return percentiles(values, _FILLS[fill]) if fill in _FILLS else values.double().mean(dim=0)
    return torch.full((values.shape[1],), float(fill), dtype=torch.float64)


def percentiles(values: Float[Tensor, "token unit"], q: float) -> Float[Tensor, " unit"]:
    """Return a percentile of each unit's values over the tokens, with linear interpolation.

    Args:
        values: Per token and unit.
        q: The percentile, from 0 to 100.

    Example:
        >>> percentiles(torch.tensor([[0.0], [1.0], [2.0]]), 75)
        tensor([1.5000], dtype=torch.float64)
    """
    # Not torch.quantile, which takes 16 million values at most.
    return torch.from_numpy(np.atleast_1d(np.percentile(values.double().numpy(), q, axis=0)))
