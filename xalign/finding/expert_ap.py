"""Expert units: those that, each alone, best tell one language's sentences from all others'."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from xalign.errors import ArgumentError
from xalign.finding.activations import Activations, Sites, activations, check_options, check_texts, site_names
from xalign.finding.choice import Choice, choose_by
from xalign.finding.method import Method
from xalign.finding.places import Places
from xalign.finding.provenance import origin_of, warn_about_shared_texts
from xalign.metrics.average_precision import average_precision
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.architectures.sites import Site
from xalign.model.inputs_for import Processing
from xalign.pairs.audio import Audio
from xalign.units.columns import COLUMNS
from xalign.units.unit_set import UnitSet
from xalign.warn import warn

Ends = Literal["high", "low", "both"]
Value = Literal["median", "mean", "p90"]
ENDS: tuple[Ends, ...] = ("high", "low", "both")
_AT_ONCE = 2**22  # activations
VALUES: tuple[Value, ...] = ("median", "mean", "p90")


@takes_layout
def expert_ap(
    model: nn.Module,
    tokenizer: Processing,
    texts: Mapping[str, Sequence[str | Audio]],
    sites: Sites = "inner",
    *,
    share: float | None = None,
    k: int | None = None,
    threshold: float | None = None,
    ends: Ends = "both",
    value: Value = "median",
    **options: Any,
) -> UnitSet:
    """Find the units with the highest average precision (AP) as detectors of each language.

    A unit's activation for a sentence is its mean over the tokens (`pool="max"`: the largest). As a score it
    ranks a label's sentences against all others. The signs of most sites are arbitrary: `ends="both"` takes
    the better of the AP of the activation and of its negative, `"high"` and `"low"` only one of them.

    Args:
        model: The model; it is only read.
        tokenizer: Its tokenizer.
        texts: Label -> sentences, at least two labels; the others' sentences are a label's negatives.
        sites: Where to look: a kind (`"inner"`: the neurons of every block), a site, or a list of these.
        share: Take this share of all units for each label; .02 without `k` and `threshold`.
        k: Take this many for each label.
        threshold: Take those whose score is at least this.
        ends: Which end of the activations tells the language.
        value: What is stored of the activations on the label's own sentences, to set the unit to: `"median"`,
            `"mean"`, or `"p90"`, the 90th percentile, and the 10th where the low end tells.
        **options: `pool`, `state`, `pool_special_tokens`, `truncate`, `token_budget`, `site_bytes` and
            `experts` of `activations`.

    Returns:
        Per label its units, the best first; of equal ones the lower site and index. A unit with the same
        activation for every sentence scores chance, the share of positives; a warning counts those chosen.

    Raises:
        ArgumentError: Fewer than two labels, a wrong choice, or a label that no unit would be chosen for.

    Reference:
        Suau et al. (2022), Self-conditioning pre-trained language models. For languages, means and both ends:
        Kojima et al. (2024), On the Multilingual Ability of Decoder-based Pre-trained Language Models.

    Example:
        >>> texts = {"eng_Latn": ["It rains.", "Good night."], "deu_Latn": ["Es regnet.", "Gute Nacht."]}
        >>> expert_ap(model, tokenizer, texts, k=5)
        UnitSet(eng_Latn 5, deu_Latn 5)
    """
    check_texts(texts, least=2)
    check_options("expert_ap", options)
    choice, options = choose_by(share=share, k=k, threshold=threshold), {"pool": "mean"} | options
    detectors = _Detectors(list(texts), ends, value)
    warn_about_shared_texts(texts)
    for of_site in activations(model, tokenizer, texts, sites, **options):
        detectors.add(of_site)
    settings = {"sites": site_names(sites), choice.by: choice.amount, "ends": ends, "value": value} | options
    return detectors.chosen(choice, origin_of(model, texts, "expert_ap", settings))


EXPERT_AP = Method("expert_ap", expert_ap, "units that each tell a language's sentences from all others'")


class _Detectors:
    """Every unit as a detector of each label: its score, and the value to set it to."""

    def __init__(self, labels: Sequence[str], ends: Ends, value: Value) -> None:
        if ends not in ENDS:
            raise ArgumentError(f"ends={ends!r} must be one of {', '.join(ENDS)}")
        if value not in VALUES:
            raise ArgumentError(f"value={value!r} must be one of {', '.join(VALUES)}")
        self._labels, self._ends, self._value = labels, ends, value
        self._widths: dict[Site, int] = {}
        self._constant: list[Tensor] = []
        self._scores: list[list[Tensor]] = [[] for _ in labels]
        self._values: list[list[Tensor]] = [[] for _ in labels]

    def add(self, of_site: Activations) -> None:
        """Score the units of a site."""
        values = of_site.values
        self._widths[of_site.site] = values.shape[1]
        self._constant.append(values.amax(dim=0) == values.amin(dim=0))
        for number in range(len(self._labels)):
            own = of_site.of(number)
            score, is_low = _expertise(values, own, self._ends)
            self._scores[number].append(score)
            self._values[number].append(_stored(values[own], is_low, self._value))

    def chosen(self, choice: Choice, provenance: Mapping[str, Any]) -> UnitSet:
        """Return the units chosen for each label, and warn of constant ones."""
        constant, n_constant, places = torch.cat(self._constant), 0, Places(self._widths)
        parts = []
        for number, label in enumerate(self._labels):
            score, values = torch.cat(self._scores[number]), torch.cat(self._values[number])
            best = choice.best(score)
            if not len(best):
                raise ArgumentError(f"{choice} chooses no unit of {len(score)} for {label}; choose more")
            n_constant += int(constant[best].sum())
            parts.append((torch.full_like(best, number), *places.of(best), score[best], values[best]))
        columns = dict(zip(COLUMNS, map(torch.cat, zip(*parts, strict=True)), strict=True))
        found = UnitSet.from_columns(self._labels, places.sites, **columns, provenance=provenance)
        if n_constant:
            warn(
                f"{n_constant} of the {len(found)} units chosen have the same activation for every sentence, "
                "so they distinguish no label (their average precision is the share of positives); choose "
                "fewer"
            )
        return found


def _expertise(
    values: Float[Tensor, "sentence unit"], own: Bool[Tensor, " sentence"], ends: Ends
) -> tuple[Float[Tensor, " unit"], Bool[Tensor, " unit"]]:
    """Return the average precision of each unit, and whether it is that of its negative."""
    if ends == "high":
        score = average_precision(values, own)
        return score, torch.zeros_like(score, dtype=torch.bool)
    low = average_precision(-values, own)
    if ends == "low":
        return low, torch.ones_like(low, dtype=torch.bool)
    high = average_precision(values, own)
    return torch.maximum(high, low), low > high


def _stored(
    values: Float[Tensor, "sentence unit"], is_low: Bool[Tensor, " unit"], value: Value
) -> Float[Tensor, " unit"]:
    """Return what each unit is set to in order to steer towards its label."""
    # In parts: a quantile takes 16 million numbers at most, and the experts of one block may have more.
    width = max(1, _AT_ONCE // len(values))
    parts = zip(torch.split(values, width, dim=1), torch.split(is_low, width), strict=True)
    return torch.cat([_stored_part(part.double(), low, value) for part, low in parts])


def _stored_part(
    values: Float[Tensor, "sentence unit"], is_low: Bool[Tensor, " unit"], value: Value
) -> Float[Tensor, " unit"]:
    if value == "mean":
        return values.mean(dim=0)
    if value == "median":
        return values.quantile(0.5, dim=0)
    return torch.where(is_low, values.quantile(0.1, dim=0), values.quantile(0.9, dim=0))
