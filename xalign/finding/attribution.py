"""Neurons to which a model's next token is due, for example at the points where it slips into English.

After Nie, Schmid and Schütze (2025), Mechanistic Understanding and Mitigation of Language Confusion in
English-Centric Large Language Models, §5, and its code.

Example:
    >>> attribution(model, tokenizer, {"deu_Latn": ["Es regnet.", "Gute Nacht."]}, k=5)
    UnitSet(deu_Latn 5)
"""

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
    **options: Any,
) -> UnitSet:
    """Find the neurons that raise the probability of the token that follows each text.

    Give prompts that end just before a model makes its mistake, such as a confusion point, where it goes on
    in the wrong language. Steering with `operator="zero"` then undoes what these neurons do.

    Args:
        model: A causal language model; it is only read.
        tokenizer: Its tokenizer.
        texts: Label -> texts. Labels are not compared: one is enough.
        at: Label -> per text, the number of the token after which to look, from 0, or from −1 backwards, −1
            being the last of the text's own; the last one if None.
        targets: Label -> per text, the id of the token to explain; the likeliest if None.
        reference: A model of the same shape that does not make the mistake. What a neuron scores there is
            subtracted, if it is among the `keep`.
        rank_by: `"score"`, the sum of a neuron's scores, or `"frequency"`, how many texts keep it.
        keep: How many neurons of each text count, those with the highest scores.
        share: Take this share of all neurons for each label.
        k: Take this many; 100 without `share`.
        **options: `truncate` and `source_codes` of `activations`.

    Returns:
        Per label its neurons, at `inner`. Values are means over the texts that keep a neuron.

    Raises:
        ArgumentError: Places or targets that do not fit, or a `reference` of another shape.
        ModelError: As in `attribute_next_token`, which says what is computed.
    """
    check_texts(texts)
    known_options("attribution", options, _OPTIONS)
    choice = choose_by(share=share, k=_K if share is None and k is None else k)
    _check(model, reference, rank_by)
    prompts = _prompts(Inputs(model, tokenizer), texts, at, options)
    wanted = _numbers("targets", targets, texts)
    counted = {label: _Counted(whole_number("keep", keep, least=1), rank_by) for label in texts}
    for label, of_label in counted.items():
        for ids, target in zip(prompts[label], wanted[label], strict=True):
            of_label.add(attribute_next_token(model, ids, target))
            if reference is not None:
                of_label.subtract(attribute_next_token(reference, ids, target))
    settings = _settings(at, targets, reference) | {"rank_by": rank_by, "keep": keep}
    origin = origin_of(model, texts, "attribution", settings | {choice.by: choice.amount} | options)
    chosen = [of_label.chosen(choice, label) for label, of_label in counted.items()]
    return Places(counted[next(iter(texts))].widths).unit_set(list(texts), chosen, origin)


ATTRIBUTION = Method(
    "attribution",
    attribution,
    "neurons that the token after each text is due to, as at points of confusion",
    sets=("sites", "pool", "state", "pool_special_tokens", "token_budget", "site_bytes", "experts"),
)


class _Counted:
    """Sums over texts of what their best neurons score."""

    def __init__(self, keep: int, rank_by: RankBy) -> None:
        self._keep, self._by_score = keep, rank_by == "score"
        self.widths: dict[Site, int] = {}
        self._sum = self._values = self._times = torch.zeros(0, dtype=torch.float64)

    def add(self, found: NextToken) -> None:
        """Add the best neurons of a text."""
        scores, values = torch.cat(list(found.scores.values())), torch.cat(list(found.coefficients.values()))
        if not self.widths:
            self.widths = {site: len(one) for site, one in found.scores.items()}
            self._sum, self._values, self._times = (torch.zeros_like(scores) for _ in range(3))
        best = self._best(scores)
        self._sum[best] += scores[best] if self._by_score else 1.0
        self._values[best] += values[best]
        self._times[best] += 1

    def subtract(self, found: NextToken) -> None:
        """Subtract the best neurons of a text in the reference."""
        scores = torch.cat(list(found.scores.values()))
        best = self._best(scores)
        self._sum[best] -= scores[best] if self._by_score else 1.0

    def _best(self, scores: Float[Tensor, " unit"]) -> Tensor:
        return scores.sort(descending=True, stable=True).indices[: self._keep]

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


def _check(model: nn.Module, reference: object, rank_by: object) -> None:
    """Raise an error for an unknown order, or a reference that is no model of the same shape."""
    if rank_by not in get_args(RankBy):
        raise ArgumentError(f"rank_by={rank_by!r:.60} must be one of {', '.join(get_args(RankBy))}")
    if reference is None:
        return
    if not isinstance(reference, nn.Module):
        raise ArgumentTypeError(f"reference must be a model, not {type(reference).__name__}")
    ours, theirs = shape_of(map_model(model)), shape_of(map_model(reference))
    if ours != theirs:
        raise ArgumentError(f"reference must have the shape of the model: {theirs} there, {ours} here")


def _settings(at: At | None, targets: At | None, reference: nn.Module | None) -> dict[str, Any]:
    """Return what is kept of these arguments beside what was found."""
    given = {"at": at, "targets": targets}
    settings: dict[str, Any] = {
        name: None if of_labels is None else {label: list(map(int, one)) for label, one in of_labels.items()}
        for name, of_labels in given.items()
    }
    return settings | {"reference": None if reference is None else map_model(reference).name}
