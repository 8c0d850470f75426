"""Neurons that a model's next token is due to, for example at the points where it slips into English."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from xalign.checks import known_options, whole_number
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.finding.activations import check_texts
from xalign.finding.choice import Choice, choose_by
from xalign.finding.method import Method
from xalign.finding.next_token import NextToken, attribute_next_token
from xalign.finding.places import Places
from xalign.finding.provenance import origin_of
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.architectures.map import map_model
from xalign.model.architectures.sites import Site
from xalign.model.inputs import Inputs, TextOptions
from xalign.units.compatibility import shape_of
from xalign.units.unit_set import UnitSet

RankBy = Literal["score", "frequency"]
At = Mapping[str, Sequence[int]]
_OPTIONS = ("truncate", "source_codes")
_K, _KEEP = 100, 300


@takes_layout
def attribution(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    texts: Mapping[str, Sequence[str]],
    *,
    at: At | None = None,
    targets: At | None = None,
    reference: nn.Module | None = None,
    rank_by: RankBy = "score",
    keep: int = _KEEP,
    share: float | None = None,
    k: int | None = None,
    threshold: float | None = None,
    **options: Any,
) -> UnitSet:
    """Find the neurons that raise the probability of the token that follows each text.

    Give prompts that end just before a model makes its mistake, such as a confusion point, where it goes on
    in the wrong language. The units are then those that the mistake is due to. `attribute_next_token` says
    what is computed. Of each text the `keep` neurons with the highest scores count.

    Args:
        model: A causal language model; it is only read.
        tokenizer: Its tokenizer.
        texts: Label -> texts. One label is enough: labels are not compared.
        at: Per label and text, the number of the token after which to look, counted from 0 in the tokens of
            the text as the tokenizer gives it, or back from its own last token with −1. That last token where
            None.
        targets: Per label and text, the id of the token to explain; the likeliest one where None.
        reference: Another model of the same shape, such as one fine-tuned on many languages that does not
            make the mistake. What a neuron scores there is subtracted, where it is among the `keep` there.
        rank_by: The sum of `"score"`, or the `"frequency"`: in how many texts a neuron is kept.
        keep: How many neurons of each text count.
        share: Take this share of all neurons for each label.
        k: Take this many; 100 without `share` and `threshold`.
        threshold: Take those whose sum, or frequency, is at least this.
        **options: `truncate` and `source_codes` of `activations`.

    Returns:
        Per label its neurons, the best first, at the sites `inner`. Values are means over the texts that kept
        the neuron. To undo what they do, steer with `operator="zero"`.

    Raises:
        ArgumentError: Places or targets that do not fit the texts, or a `reference` of another shape.
        ModelError: As in `attribute_next_token`.

    Reference:
        Nie, Schmid and Schütze (2025), Mechanistic Understanding and Mitigation of Language Confusion, §5.

    Example:
        >>> texts = {"deu_Latn": ["Es regnet.", "Gute Nacht."]}
        >>> attribution(model, tokenizer, texts, k=5)
        UnitSet(deu_Latn 5)
    """
    check_texts(texts)
    known_options("attribution", options, _OPTIONS)
    if rank_by not in get_args(RankBy):
        raise ArgumentError(f"rank_by={rank_by!r:.60} must be one of {', '.join(get_args(RankBy))}")
    keep = whole_number("keep", keep, least=1)
    is_open = share is None and k is None and threshold is None
    choice = choose_by(share=share, k=_K if is_open else k, threshold=threshold)
    _check_reference(model, reference)
    prompts = _prompts(Inputs(model, tokenizer), texts, at, options)
    wanted = _numbers("targets", targets, texts)
    chosen, widths = [], dict[Site, int]()
    for label in texts:
        counted = _Counted(keep)
        for ids, target in zip(prompts[label], wanted[label], strict=True):
            counted.add(attribute_next_token(model, ids, target), 1.0, rank_by)
            if reference is not None:
                counted.add(attribute_next_token(reference, ids, target), -1.0, rank_by)
        widths = counted.widths
        chosen.append(counted.chosen(choice, label))
    settings: dict[str, Any] = {"rank_by": rank_by, "keep": keep, choice.by: choice.amount}
    settings |= {"reference": _name_of(reference)}
    settings |= {"at": _listed(at), "targets": _listed(targets)}
    origin = origin_of(model, texts, "attribution", settings | options)
    return Places(widths).unit_set(list(texts), chosen, origin)


ATTRIBUTION = Method(
    "attribution",
    attribution,
    "neurons that the token after each text is due to, as at points of confusion",
    sets=("sites", "pool", "state", "pool_special_tokens", "token_budget", "site_bytes", "experts"),
)


class _Counted:
    """Sums over texts of what their best neurons score."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self.widths: dict[Site, int] = {}
        self._sum = self._values = self._times = torch.zeros(0, dtype=torch.float64)

    def add(self, found: NextToken, sign: float, rank_by: RankBy) -> None:
        """Add the best neurons of a text, or with the sign −1 subtract those of the reference."""
        scores, values = torch.cat(list(found.scores.values())), torch.cat(list(found.coefficients.values()))
        if not self.widths:
            self.widths = {site: len(one) for site, one in found.scores.items()}
            self._sum, self._values, self._times = (torch.zeros_like(scores) for _ in range(3))
        best = scores.sort(descending=True, stable=True).indices[: self._keep]
        by_score = torch.zeros_like(scores)
        by_score[best] = 1.0 if rank_by == "frequency" else scores[best]
        self._sum += sign * by_score
        if sign > 0:
            self._times[best] += 1
            self._values[best] += values[best]

    def chosen(
        self, choice: Choice, label: str
    ) -> tuple[Tensor, Float[Tensor, " unit"], Float[Tensor, " unit"]]:
        """Return the neurons that are chosen among those that some text kept, their sums and mean values.

        Raises:
            ArgumentError: None is.
        """
        kept = self._times > 0
        units = choice.best(self._sum.masked_fill(~kept, -torch.inf))
        units = units[kept[units]]
        if not len(units):
            raise ArgumentError(f"{choice} chooses no neuron for {label}; choose more")
        return units, self._sum[units], self._values[units] / self._times[units]


def _prompts(
    inputs: Inputs, texts: Mapping[str, Sequence[str]], at: At | None, options: Mapping[str, Any]
) -> dict[str, list[Sequence[int]]]:
    """Return the token ids up to the place of each text."""
    places = _numbers("at", at, texts)
    prompts: dict[str, list[Sequence[int]]] = {}
    settings = TextOptions(pool_special_tokens=False, **options)
    for label, sentences in texts.items():
        encoded = inputs.encode(sentences, label, settings)
        prompts[label] = []
        for row, (ids, own) in enumerate(zip(encoded.ids, encoded.pooled, strict=True)):
            end = 1 + max(number for number, is_own in enumerate(own) if is_own)
            given = -1 if places[label][row] is None else places[label][row]
            stop = 1 + (end + given if given < 0 else given)
            if not 1 <= stop <= len(ids):
                raise ArgumentError(
                    f"at[{label!r}][{row}]={given} is no token of this text: it has {len(ids)}, and its own "
                    f"end with number {end - 1}"
                )
            prompts[label].append(ids[:stop])
    return prompts


def _numbers(name: str, given: At | None, texts: Mapping[str, Sequence[str]]) -> dict[str, list[Any]]:
    """Return a number per text, or None.

    Raises:
        ArgumentError: Other labels than those of the texts, or another number of numbers.
    """
    if given is None:
        return {label: [None] * len(sentences) for label, sentences in texts.items()}
    if not isinstance(given, Mapping) or set(given) != set(texts):
        raise ArgumentError(
            f"{name}={given!r:.60} must map the labels of texts, {', '.join(texts)}, to numbers"
        )
    for label, numbers in given.items():
        if not isinstance(numbers, Sequence) or len(numbers) != len(texts[label]):
            raise ArgumentError(f"{name}[{label!r}] must have a number per text, {len(texts[label])} in all")
    return {
        label: [whole_number(f"{name}[{label!r}]", one, least=None if name == "at" else 0) for one in numbers]
        for label, numbers in given.items()
    }


def _check_reference(model: nn.Module, reference: nn.Module | None) -> None:
    if reference is None:
        return
    if not isinstance(reference, nn.Module):
        raise ArgumentTypeError(f"reference must be a model, not {type(reference).__name__}")
    ours, theirs = shape_of(map_model(model)), shape_of(map_model(reference))
    if ours != theirs:
        raise ArgumentError(f"reference must have the shape of the model: {theirs} there, {ours} here")


def _name_of(reference: nn.Module | None) -> str | None:
    return None if reference is None else map_model(reference).name


def _listed(given: At | None) -> dict[str, list[int]] | None:
    return None if given is None else {label: list(map(int, numbers)) for label, numbers in given.items()}
