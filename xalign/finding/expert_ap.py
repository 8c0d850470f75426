"""Expert units: those that, each alone, best tell one language's sentences from all others'."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from xalign.checks import positive, whole_number
from xalign.errors import ArgumentError
from xalign.finding.activations import Sites, activations, check_texts, named
from xalign.finding.origin import origin_of, warn_about_shared_texts
from xalign.metrics.average_precision import average_precision
from xalign.model.architectures.sites import Site
from xalign.units.unit_set import Unit, UnitSet

Ends = Literal["high", "low", "both"]
Value = Literal["median", "mean", "p90"]
VALUES: tuple[Value, ...] = ("median", "mean", "p90")


def expert_ap(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    texts: Mapping[str, Sequence[str]],
    sites: Sites = "inner",
    *,
    share: float | None = None,
    k: int | None = None,
    threshold: float | None = None,
    ends: Ends = "both",
    value: Value = "median",
    **options: Any,
) -> UnitSet:
    """Units with the highest average precision as detectors of each language.

    A unit's answer to a sentence is its mean over the sentence's tokens (`pool="max"` for the largest). For
    each label, AP is that of the site_activations as a score for its sentences against all others. The signs of most
    sites are arbitrary, so that a unit which falls silent or negative is as good a detector: `ends="both"`
    takes the better of the AP of the answer and of its negative, `"high"` and `"low"` only one of them.

    Args:
        model: The model; it is only looked at.
        tokenizer: Its tokenizer.
        texts: Label -> sentences, at least two labels; the others' sentences are a label's negatives.
        sites: Where to look: a kind (`"inner"`: the neurons of every block), a site, or a list of these.
        share: Takes this share of all units for each label; .02 where neither `k` nor `threshold` is given.
        k: Takes so many for each label.
        threshold: Takes those whose score is at least this.
        ends: Which end of the site_activations tells the language.
        value: What is stored as a unit's value: `"median"`, `"mean"` or `"p90"` of its site_activations to the label's
            own sentences, the 10th percentile where its low end tells.
        **options: `pool`, `state`, `pool_special_tokens`, `token_budget` and `site_bytes` of
            `activations`.

    Returns:
        Per label its units, the best first; of equal ones the lower site and index. A unit that site_activations every
        sentence alike scores the share of positives, which is chance; a warning counts such as are chosen.

    Raises:
        ArgumentError: Fewer than two labels, more than one way to choose, a share outside (0, 1], or a label
            that no unit would be chosen for.

    Reference:
        Suau et al. (2022), Self-conditioning pre-trained language models; Kojima et al. (2024), On the
        Multilingual Ability of Decoder-based Pre-trained Language Models, for languages, means and both ends.

    Example:
        >>> texts = {"eng_Latn": ["It rains.", "Good night."], "deu_Latn": ["Es regnet.", "Gute Nacht."]}
        >>> units = expert_ap(model, tokenizer, texts, k=5)
        >>> units
        UnitSet(eng_Latn 5, deu_Latn 5)
    """
    check_texts(texts, least=2)
    ways = {"share": share, "k": k, "threshold": threshold}
    given = {name: way for name, way in ways.items() if way is not None}
    if len(given) > 1:
        raise ArgumentError(f"give one of share, k and threshold, not {' and '.join(given)}")
    if ends not in ("high", "low", "both"):
        raise ArgumentError(f"ends={ends!r} must be one of high, low, both")
    if value not in VALUES:
        raise ArgumentError(f"value={value!r} must be one of {', '.join(VALUES)}")
    if not given:
        given = {"share": 0.02}
    (way, amount), labels = next(iter(given.items())), list(texts)
    amount = whole_number("k", amount, least=1) if way == "k" else positive(way, amount)
    if way == "share" and amount > 1:
        raise ArgumentError(f"share={amount} must be at most 1")
    warn_about_shared_texts(texts)
    options = {"pool": "mean"} | options
    places: list[tuple[Site, int]] = []
    scores: list[list[Tensor]] = [[] for _ in labels]
    stored: list[list[Tensor]] = [[] for _ in labels]
    constant: list[Tensor] = []
    for site_activations in activations(model, tokenizer, texts, sites, **options):
        places += [(site_activations.site, index) for index in range(site_activations.values.shape[1])]
        constant.append(site_activations.values.amax(dim=0) == site_activations.values.amin(dim=0))
        for number in range(len(labels)):
            own = site_activations.of(number)
            score, falls = _expertise(site_activations.values, own, ends)
            scores[number].append(score)
            stored[number].append(_stored(site_activations.values[own], falls, value))
    silent, said = torch.cat(constant), 0
    rows: list[Unit] = []
    for number, label in enumerate(labels):
        score, values = torch.cat(scores[number]), torch.cat(stored[number])
        ranked = score.sort(descending=True, stable=True).indices
        if way == "threshold":
            best = ranked[score[ranked] >= amount]
        else:
            best = ranked[: int(amount) if way == "k" else round(amount * len(score))]
        if not len(best):
            raise ArgumentError(f"{way}={amount} chooses no unit of {len(score)} for {label}; choose more")
        said += int(silent[best].sum())
        for at in best.tolist():
            site, index = places[at]
            rows.append(Unit(label, site, index, score[at].item(), values[at].item()))
    if said:
        warnings.warn(
            f"{said} of the {len(rows)} units chosen answer every sentence alike and tell nothing: their "
            "average precision is the share of positives; choose fewer",
            UserWarning,
            stacklevel=2,
        )
    settings = {"sites": named(sites), way: amount, "ends": ends, "value": value} | options
    return UnitSet(tuple(rows), origin_of(model, texts, "expert_ap", settings))


def _expertise(
    values: Float[Tensor, "sentence unit"], own: Bool[Tensor, " sentence"], ends: Ends
) -> tuple[Float[Tensor, " unit"], Bool[Tensor, " unit"]]:
    """The average precision of each unit, and whether it is that of its negative."""
    if ends == "high":
        score = average_precision(values, own)
        return score, torch.zeros_like(score, dtype=torch.bool)
    low = average_precision(-values, own)
    if ends == "low":
        return low, torch.ones_like(low, dtype=torch.bool)
    high = average_precision(values, own)
    return torch.maximum(high, low), low > high


def _stored(
    values: Float[Tensor, "sentence unit"], falls: Bool[Tensor, " unit"], value: Value
) -> Float[Tensor, " unit"]:
    """What each unit is set to in order to play its label."""
    values = values.double()
    if value == "mean":
        return values.mean(dim=0)
    if value == "median":
        return values.quantile(0.5, dim=0)
    return torch.where(falls, values.quantile(0.1, dim=0), values.quantile(0.9, dim=0))
