"""Which neurons all languages share for the same item, and how much these contribute."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from xalign.checks import known_options, positive
from xalign.errors import ArgumentError, ModelError
from xalign.finding.activations import activations
from xalign.finding.provenance import origin_of
from xalign.metrics.sharing_groups import (
    GROUPS,
    contribution_scores,
    effective_scores,
    expected_groups,
    group_shares,
    sharing_groups,
)
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.architectures.map import map_model
from xalign.model.architectures.sites import Site
from xalign.model.inputs_for import Processing
from xalign.model.wrapped import base_model_of
from xalign.pairs.languages import normalize_languages
from xalign.pairs.parallel import ParallelPairs
from xalign.probing.answer_tokens import answer_tokens
from xalign.probing.findings import Findings
from xalign.schema import Fields
from xalign.statistics.intervals import share_interval
from xalign.steering.interventions.down_columns import down_columns

_TOP = 0.05
_OPTIONS = ("truncate", "source_codes", "token_budget", "site_bytes", "experts")


class _Row(Fields):
    layer: int
    group: str
    share: float
    low: float
    high: float
    least: float
    most: float
    expected: float
    other_items: float
    corpus: float
    always: float
    contribution: float | None
    top: float | None
    effective: float | None


@dataclass(frozen=True)
class Sharing(Findings):
    """What `neuron_sharing` found: a row per layer and group.

    Columns: `layer`; `group`, one of `all_shared`, `partial_shared`, `specific` and `non_activated`; `share`
    of the layer's neurons, the mean over items, with its 95 % interval `low` to `high`, and the `least` and
    the `most` of an item; `expected`, the share if each language picked as many neurons at random;
    `other_items`, the share where each language is given another item; `corpus`, the share if a neuron
    counts as active in a language that activates it for more than half of the items;
    `always`, the share of neurons that belong to the group for every item. `contribution` is the group's part
    of the sum of all contribution scores, and `top` its part of the 5 % of neurons that contribute most.
    `effective` is the sum of the group's effective scores for the first token of the answer. They are means
    over items and languages, and None where they are not known.
    """

    kind: ClassVar[str] = "xalign.Sharing"
    row: ClassVar[type[Fields]] = _Row
    shown: ClassVar[tuple[str, ...]] = (
        *("layer", "group", "share", "expected", "other_items", "corpus", "contribution", "top", "effective"),
    )

    def share(self, group: str) -> float:
        """Return the mean over layers of a group's share."""
        return self._mean(group, "share")

    def expected(self, group: str) -> float:
        """Return the mean over layers of a group's share under independence."""
        return self._mean(group, "expected")

    def other_items(self, group: str) -> float:
        """Return the mean over layers of a group's share where each language is given another item."""
        return self._mean(group, "other_items")

    def _mean(self, group: str, column: str) -> float:
        if group not in GROUPS:
            raise ArgumentError(f"group={group!r:.40} must be one of {', '.join(GROUPS)}")
        found = [row[column] for row in self.where(group=group)]
        return float(sum(found) / len(found))


@takes_layout
def neuron_sharing(
    model: nn.Module,
    tokenizer: Processing,
    prompts: ParallelPairs[str] | Mapping[str, Sequence[str]],
    *,
    answers: Mapping[str, Sequence[str]] | None = None,
    threshold: float = 0.0,
    top: float = _TOP,
    **options: Any,
) -> Sharing:
    """Group the neurons of each layer by the languages in which an item activates them.

    A neuron is active in a language where its value at the last token of the prompt, the input of the down
    projection, is above the threshold. For each item, it is active in all languages, in several, in one or in
    none. The more languages, the fewer neurons are active in all of them by chance: `expected` says how few.
    `other_items` gives what all sentences share, whatever they mean.

    The values of all languages are held for as many layers at a time as fit into `site_bytes`; for the other
    layers, the texts are run again.

    Args:
        model: The model; it is only read.
        tokenizer: Its tokenizer.
        prompts: Language -> a prompt per item, line-aligned; or parallel sentences.
        answers: Language -> the right answer to each item, as it continues the prompt: with the space before
            it where the language has one. With them, effective scores are computed.
        threshold: What a value must exceed; 0 in the paper, which also tries .1 to .5.
        top: The share of neurons that counts as contributing most; about 5 % in the paper (800 of 16,384).
        **options: `truncate`, `source_codes`, `token_budget`, `site_bytes` and `experts` of `activations`.

    Returns:
        A row per layer and group.

    Raises:
        ArgumentError: Fewer than 2 languages or items, languages with different numbers of items, or a `top`
            outside (0, 1].
        ModelError: Answers, and a model without an input embedding of the stream's width.

    Reference:
        Wang et al. (2024), Sharing Matters: Analysing Neurons Across Languages and Tasks in LLMs.

    Example:
        >>> prompts = {"en": ["It rains.", "Good night."], "de": ["Es regnet.", "Gute Nacht."]}
        >>> found = neuron_sharing(model, tokenizer, prompts)
        >>> round(sum(found.share(group) for group in GROUPS), 6)
        1.0
    """
    known_options("neuron_sharing", options, _OPTIONS)
    texts, threshold, top = checked_prompts(prompts), positive("threshold", threshold, zero=True), _top(top)
    wanted = None if answers is None else _answers_of(model, tokenizer, texts, answers)
    rows, count = list[dict[str, Any]](), len(next(iter(texts.values())))
    for found in activations(model, tokenizer, texts, "inner", pool="last", state="value", **options):
        values = found.values.view(len(texts), count, -1)
        layer, columns = int(str(found.site.layer)), _columns_of(model, found.site)
        rows += _rows(layer, values, threshold, top, columns, wanted)
    settings = {"threshold": threshold, "top": top, "position": "last token of the prompt", **options}
    about = origin_of(model, texts, "neuron_sharing", settings)
    return Sharing(tuple(rows), about | {"languages": list(texts), "items": count})


def _top(top: float) -> float:
    if positive("top", top) > 1:
        raise ArgumentError(f"top={top} must be at most 1, the share of all neurons")
    return top


def checked_prompts(prompts: Any) -> dict[str, list[str]]:
    """Return language -> prompts, with the codes normalised.

    Raises:
        ArgumentError: Fewer than 2 languages or items, or different numbers of items.
    """
    if isinstance(prompts, ParallelPairs):
        if not prompts.is_multiway:
            raise ArgumentError(
                "prompts: not all languages translate the same sentences; take pairs.only([...])"
            )
        prompts = prompts.texts
    if not isinstance(prompts, Mapping) or len(prompts) < 2:  # noqa: PLR2004
        raise ArgumentError("prompts must map at least 2 languages to lists of prompts, or be ParallelPairs")
    codes = normalize_languages("prompts", prompts)
    texts = {code: list(own) for code, own in zip(codes, prompts.values(), strict=True)}
    counts = {code: len(own) for code, own in texts.items()}
    if len(set(counts.values())) > 1 or min(counts.values()) < 2:  # noqa: PLR2004
        listed = ", ".join(f"{code} {n}" for code, n in counts.items())
        raise ArgumentError(f"prompts must hold the same items in every language, at least 2; now {listed}")
    return texts


def _answers_of(
    model: nn.Module, tokenizer: Any, texts: Mapping[str, Sequence[str]], answers: Mapping[str, Sequence[str]]
) -> Float[Tensor, "language item width"]:
    """Return the input embedding of the first token of every answer."""
    embedding = getattr(base_model_of(model), "get_input_embeddings", lambda: None)()
    weight = getattr(embedding, "weight", None)
    width = map_model(model).width
    if weight is None or weight.shape[1] != width:
        raise ModelError(
            f"answers: the input embedding of {type(base_model_of(model)).__name__} is not as wide as its "
            f"stream, {width}; leave answers out"
        )
    tokens = answer_tokens(model, tokenizer, texts, answers)
    return torch.stack([weight[one.to(weight.device)].detach().float().cpu() for one in tokens.values()])


def _columns_of(model: nn.Module, site: Site) -> Float[Tensor, "neuron width"] | None:
    """Return what each neuron adds to the stream; None for the experts of a mixture."""
    model_map = map_model(model)
    place = model_map.place(site)
    if site.kind != "inner" or place.side != "input":
        return None
    return down_columns(model, model_map, site, torch.arange(place.width))


def _rows(
    layer: int,
    values: Float[Tensor, "language item neuron"],
    threshold: float,
    top: float,
    columns: Float[Tensor, "neuron width"] | None,
    answers: Float[Tensor, "language item width"] | None,
) -> list[dict[str, Any]]:
    """Return the rows of one layer."""
    active = values > threshold
    groups = sharing_groups(active)
    expected = expected_groups(active.double().mean(dim=2)).mean(dim=1)
    others = sharing_groups(_mispaired(active))
    corpus = sharing_groups((active.double().mean(dim=1) > 0.5).unsqueeze(1))[0]  # noqa: PLR2004
    scores = _scores(values, groups, max(1, round(top * values.shape[2])), columns, answers)
    rows = []
    for number, group in enumerate(GROUPS):
        is_own = groups == number
        shares = is_own.double().mean(dim=1)
        low, high = share_interval(shares.numpy())
        row: dict[str, Any] = {"layer": layer, "group": group, "share": float(shares.mean())}
        row |= {"low": low, "high": high, "least": float(shares.min()), "most": float(shares.max())}
        row |= {"expected": float(expected[number]), "always": float(is_own.all(dim=0).double().mean())}
        for name, other in (("other_items", others), ("corpus", corpus)):
            row[name] = float((other == number).double().mean())
        rows.append(row | {name: None if one is None else float(one[number]) for name, one in scores.items()})
    return rows[::-1]  # those that all share first


def _mispaired(
    active: Bool[Tensor, "language item neuron"],
) -> Bool[Tensor, "language item neuron"]:
    """Return the same activity, in which each language but the first stands at another item.

    As far as there are items, no two languages stand at the same one.
    """
    n = active.shape[1]
    return torch.stack([own.roll((k - 1) % (n - 1) + 1 if k else 0, dims=0) for k, own in enumerate(active)])


def _scores(
    values: Float[Tensor, "language item neuron"],
    groups: Tensor,
    top: int,
    columns: Float[Tensor, "neuron width"] | None,
    answers: Float[Tensor, "language item width"] | None,
) -> dict[str, Float[Tensor, " group"] | None]:
    """Return per group its parts of the contributions, and its effective scores, as means over all texts."""
    if columns is None:
        return {"contribution": None, "top": None, "effective": None}
    norms = columns.norm(dim=1)
    parts, tops, effects = [], [], []
    for number, own in enumerate(values):
        scores = contribution_scores(own, norms).double()
        parts.append(_sums(scores, groups) / scores.sum(dim=1).clamp_min(torch.finfo(torch.float64).tiny))
        tops.append(group_shares(scores, groups, top))
        if answers is not None:
            effects.append(_sums(effective_scores(own, columns, answers[number]).double(), groups))
    found = {"contribution": parts, "top": tops, "effective": effects}
    return {name: torch.stack(one).mean(dim=(0, 2)) if one else None for name, one in found.items()}


def _sums(scores: Float[Tensor, "item neuron"], groups: Tensor) -> Float[Tensor, "group item"]:
    return torch.stack([(scores * (groups == number)).sum(dim=1) for number in range(len(GROUPS))])
