"""Neurons by how often, or how strongly, a language activates them, and values to fill in at test time."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from xalign.checks import boolean, known_options, number, whole_number
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.finding.activations import check_texts
from xalign.finding.choice import choose_by
from xalign.finding.method import Method
from xalign.finding.places import Places
from xalign.finding.provenance import origin_of, warn_about_shared_texts
from xalign.finding.token_values import TokenValues, token_values
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.architectures.map import map_model
from xalign.model.architectures.sites import Kind, Site
from xalign.model.inputs_for import Processing
from xalign.pairs.audio import Audio
from xalign.units.unit_set import UnitSet

Statistic = Literal["act_prob_zero", "act_prob_75p", "act_prob_90p", "act_prob_95p", "act_abs_mean"]
PercentileOf = Literal["all", "own"]
_PERCENTILES = {"act_prob_75p": 75.0, "act_prob_90p": 90.0, "act_prob_95p": 95.0}
_FILLS = {"p5": 5.0, "p10": 10.0, "p25": 25.0, "p50": 50.0, "p75": 75.0, "p90": 90.0, "p95": 95.0}
_OPTIONS = ("pool_special_tokens", "truncate", "source_codes", "token_budget", "experts")
_SHARE = 0.00125


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
    batch_size: int = 8,
    compat_mondal: bool = False,
    **options: Any,
) -> UnitSet:
    """Find the neurons that each language activates most, whatever the other languages do.

    All is measured at the gate, before its activation function, over the tokens of a language. No language is
    compared with another, so that languages share many of these neurons: `units.groups()` tells which.

    Args:
        model: The model; it is only read.
        tokenizer: Its tokenizer.
        texts: Label -> sentences.
        statistic: What neurons are ranked by: `"act_prob_zero"`, the share of tokens at which the gate is
            above 0; `"act_prob_75p"`, `"act_prob_90p"` or `"act_prob_95p"`, the share at which it is above
            that percentile of its values; or `"act_abs_mean"`, the mean of its absolute value.
        share: Take this share of all neurons for each label; .00125 without `k`.
        k: Take this many for each label.
        fill: The value to store, for `steer(..., operator="set")`: the `"mean"` of the gate over the label's
            tokens, a percentile `"p5"`, `"p10"`, `"p25"`, `"p50"`, `"p75"`, `"p90"` or `"p95"`, or a number.
        percentile_of: Percentiles over the tokens of `"all"` labels together; or of the label's `"own"`
            tokens, averaged over batches, as in the paper's code. Then every neuron exceeds its own 90th
            percentile at about a tenth of the tokens, and the ranking is mostly by chance.
        batch_size: With `percentile_of="own"`, how many sentences a batch has, in the order given.
        compat_mondal: Write the values, which are measured before the activation function, behind it (site
            `act`), as the paper's code does. Without it, values are written where they were measured.
        **options: `pool_special_tokens`, `truncate`, `source_codes`, `token_budget` and `experts` of
            `token_values`.

    Returns:
        Per label its neurons, the best first; of equal ones the lower layer and index.

    Raises:
        ArgumentError: An unknown statistic, fill or `percentile_of`, or a wrong choice.
        ModelError: `compat_mondal` for a model whose activation function is no module.

    Reference:
        Mondal et al. (2025), Language-specific Neurons Do Not Facilitate Cross-Lingual Transfer; its code.

    Example:
        >>> texts = {"eng_Latn": ["It rains.", "Good night."], "deu_Latn": ["Es regnet.", "Gute Nacht."]}
        >>> activation_probability(model, tokenizer, texts, k=3, fill="p90")
        UnitSet(eng_Latn 3, deu_Latn 3)
    """
    check_texts(texts)
    known_options("activation_probability", options, _OPTIONS)
    choice = choose_by(share=_SHARE if share is None and k is None else share, k=k)
    _check(statistic, fill, percentile_of)
    batch_size = whole_number("batch_size", batch_size, least=1)
    kind: Kind = "act" if boolean("compat_mondal", compat_mondal) else "gate"
    warn_about_shared_texts(texts)
    model_map, widths, scores, values = map_model(model), dict[Site, int](), list[Tensor](), list[Tensor]()
    for found in token_values(model, tokenizer, texts, "gate", **options):
        site = replace(found.site, kind=kind)
        model_map.place(site)
        widths[site] = found.values.shape[1]
        scores.append(_scores(found, len(texts), statistic, percentile_of, batch_size))
        values.append(torch.stack([_filled(found.values[found.of(one)], fill) for one in range(len(texts))]))
    score, value = torch.cat(scores, dim=1), torch.cat(values, dim=1)
    best = [choice.best(row) for row in score]
    chosen = [(units, score[number, units], value[number, units]) for number, units in enumerate(best)]
    settings = {
        "statistic": statistic,
        choice.by: choice.amount,
        "fill": fill,
        "percentile_of": percentile_of,
    }
    settings |= {"batch_size": batch_size, "compat_mondal": compat_mondal}
    origin = origin_of(model, texts, "activation_probability", settings | options)
    return Places(widths).unit_set(list(texts), chosen, origin)


ACTIVATION_PROBABILITY = Method(
    "activation_probability",
    activation_probability,
    "neurons that a language activates most often or most strongly, whatever the others do",
    sets=("sites", "pool", "state", "site_bytes"),
)


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
    found: TokenValues, labels: int, statistic: Statistic, percentile_of: PercentileOf, batch_size: int
) -> Float[Tensor, "label unit"]:
    """Return the statistic of each label and unit."""
    bars: list[Tensor | float] = [0.0] * labels
    if statistic in _PERCENTILES:
        q = _PERCENTILES[statistic]
        if percentile_of == "all":
            bars = [percentiles(found.values, q)] * labels
        else:
            bars = [_own_percentiles(found, one, q, batch_size) for one in range(labels)]
    own = [found.values[found.of(one)] for one in range(labels)]
    if statistic == "act_abs_mean":
        return torch.stack([values.abs().double().mean(dim=0) for values in own])
    return torch.stack([(values > bar).double().mean(dim=0) for values, bar in zip(own, bars, strict=True)])


def _own_percentiles(found: TokenValues, label: int, q: float, batch_size: int) -> Float[Tensor, " unit"]:
    """Return the percentile of a label's values, averaged over batches of its sentences."""
    is_own = found.of(label)
    values, batch = found.values[is_own], found.sentence[is_own] // batch_size
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
