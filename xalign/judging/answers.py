"""Answer choice tasks by the log-likelihood of their options, and join that with their alignment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from scipy.stats import fisher_exact
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from xalign.errors import ArgumentError, PairsError
from xalign.judging.text_losses import id_losses
from xalign.measurement.prepared_items import checked_options
from xalign.model.inputs import Inputs
from xalign.pairs.item import Choice
from xalign.pairs.items import ParallelItems
from xalign.pairs.languages import match_language
from xalign.results.report import AlignmentReport
from xalign.statistics.intervals import Interval, wilson_interval
from xalign.statistics.shares import newcombe_interval

Ids = tuple[int, ...]
Per = Literal["option", "character"]


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model answers to choice tasks.

    Attributes:
        scores: Language -> the log-likelihood of every option in nats, [item, option]; divided by its number
            of characters if asked for.
        correct: Language -> whether the likeliest option, the first of equal ones, is the right one.
        chance: The accuracy of guessing: 1 / options.
        fingerprint: The fingerprint of the items.

    Example:
        >>> bits = {"eng_Latn": torch.tensor([True, True, False, True])}
        >>> Answers({}, bits, chance=0.5, fingerprint="").accuracy("en")
        0.75
    """

    scores: Mapping[str, Float[Tensor, "item option"]]
    correct: Mapping[str, Bool[Tensor, " item"]]
    chance: float
    fingerprint: str

    def accuracy(self, language: str) -> float:
        """Return the share of items that are answered correctly."""
        return float(self._bits(language).double().mean())

    def interval(self, language: str) -> Interval:
        """Return the 95 % interval of the accuracy (Wilson)."""
        bits = self._bits(language)
        return wilson_interval(int(bits.sum()), len(bits))

    def _bits(self, language: str) -> Tensor:
        code = match_language(language, self.correct)
        if code is None:
            raise ArgumentError(f"language={language!r} was not answered; that is {', '.join(self.correct)}")
        return self.correct[code]


def answer_items(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    items: ParallelItems[Choice],
    *,
    per: Per = "option",
    token_budget: int = 8192,
) -> Answers:
    """Answer choice tasks zero-shot, by the option with the largest log-likelihood after the context.

    Context and option are joined by a space. Tokens count from the first that the context alone does not
    have.

    Args:
        model: A causal language model.
        tokenizer: Its tokenizer.
        items: Choice tasks with gold answers, all with the same number of options.
        per: `"option"` compares sums over tokens (`acc` of lm-evaluation-harness), `"character"` divides them
            by the characters of the option (`acc_norm`).
        token_budget: The most tokens in one forward pass, padding included.

    Raises:
        PairsError: Items without gold answers, or with different numbers of options.
        ModelError: A model without a language-model head.
        ArgumentError: A text longer than the context window.

    Example:
        >>> english = [Choice("It rains.", ("I am wet.", "No."), 0), Choice("I eat.", ("Fine.", "No."), 0)]
        >>> answers = answer_items(model, tokenizer, ParallelItems({"en": english}))
        >>> answers.scores["eng_Latn"].shape, answers.chance
        (torch.Size([2, 2]), 0.5)
    """
    if per not in ("option", "character"):
        raise ArgumentError(f"per={per!r:.40} must be 'option' or 'character'")
    options = checked_options(items)
    for code, own in items.items():
        without = [one for one, item in zip(items.ids, own, strict=True) if item.gold is None]
        if without:
            raise PairsError(
                f"{len(without)} item(s) in {code} have no gold answer, the first {without[0]}: no answer "
                "could be called right"
            )
    scores, correct = {}, {}
    for code, own in items.items():
        found = _log_likelihoods(model, tokenizer, own, code, token_budget).view(items.n, options)
        if per == "character":
            lengths = [[len(option) for option in item.options] for item in own]
            found = found / torch.tensor(lengths, dtype=torch.float64)
        gold = torch.tensor([item.gold for item in own])
        scores[code], correct[code] = found, found.argmax(dim=1) == gold
    return Answers(scores, correct, 1 / options, items.fingerprint)


def agreement(report: AlignmentReport, answers: Answers, metric: str = "dali") -> list[dict[str, Any]]:
    """Say, per language, whether the alignment of an item predicts that it is solved.

    The bits are those of the layer with the largest mean bit, the first of equal ones. It is chosen by
    alignment alone, so the answers do not favour it.

    Args:
        report: A report of `measure_items`.
        answers: What the same model answers to the same items.
        metric: A metric of bits in the report.

    Returns:
        A row per language: `language`, `layer`, `n`, `aligned` (the share of items), `accuracy`,
        `accuracy_aligned` and `accuracy_other`, their `difference` with `low` and `high` (95 %, Newcombe) and
        `p` (Fisher's exact test, two-sided), all None where either group is empty; `agreement`, the share of
        items that are both aligned and solved or neither, with `agreement_low` and `agreement_high` (95 %,
        Wilson), and `chance`, the agreement expected if both were independent.

    Raises:
        ArgumentError: Answers to other items, or a metric that has no bits.

    Reference:
        The question of Ravisankar, Han and Carpuat (2025), arXiv 2504.09378. Newcombe (1998), method 10.

    Example:
        >>> english = [Choice("It rains.", ("I am wet.", "No."), 0), Choice("I eat.", ("Fine.", "No."), 0)]
        >>> items = ParallelItems({"en": english, "de": english})
        >>> from xalign.measurement.items import measure_items
        >>> report = measure_items(model, tokenizer, items)
        >>> (row,) = agreement(report, answer_items(model, tokenizer, items))
        >>> row["language"], row["n"]
        ('deu_Latn', 2)
    """
    measured = report.provenance.get("items", {}).get("fingerprint")
    if measured != answers.fingerprint:
        raise ArgumentError("the report and the answers are of other items; measure and answer the same ones")
    return [_row(report, answers, metric, language) for language in report.languages]


def _row(report: AlignmentReport, answers: Answers, metric: str, language: str) -> dict[str, Any]:
    if metric not in report.metrics:
        raise ArgumentError(f"metric={metric!r:.60} was not measured; there are {', '.join(report.metrics)}")
    result = report.metrics[metric]
    bits = result.values[language]
    if bits.dtype != torch.bool:
        raise ArgumentError(f"metric={metric!r} has real numbers and no bits per item; choose one with bits")
    layer = int(bits.double().mean(dim=1).argmax())
    aligned, correct = bits[layer], answers.correct[language]
    n, both = len(aligned), int((aligned == correct).sum())
    share, accuracy = float(aligned.double().mean()), float(correct.double().mean())
    low, high = wilson_interval(both, n)
    return {
        "language": language,
        "layer": result.layers[layer],
        "n": n,
        "aligned": share,
        "accuracy": accuracy,
        **_difference(correct[aligned], correct[~aligned]),
        "agreement": both / n,
        "agreement_low": low,
        "agreement_high": high,
        "chance": share * accuracy + (1 - share) * (1 - accuracy),
    }


def _difference(aligned: Tensor, other: Tensor) -> dict[str, float | None]:
    """Return the accuracies of aligned and of other items, and their difference with interval and p-value."""
    names = ("accuracy_aligned", "accuracy_other", "difference", "low", "high", "p")
    counts = [(int(side.sum()), len(side)) for side in (aligned, other)]
    shares = [hits / n if n else None for hits, n in counts]
    if shares[0] is None or shares[1] is None:
        return dict(zip(names, (*shares, None, None, None, None), strict=True))
    interval = newcombe_interval(*counts[0], *counts[1])
    p = float(fisher_exact([[hits, n - hits] for hits, n in counts]).pvalue)
    return dict(zip(names, (*shares, shares[0] - shares[1], *interval, p), strict=True))


def _log_likelihoods(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, own: Sequence[Choice], code: str, token_budget: int
) -> Float[Tensor, " option"]:
    """Return the log-likelihood of every option of every item, given its context."""
    inputs = Inputs(model, tokenizer)
    special = set(tokenizer.all_special_ids)
    contexts = inputs.encode([item.context for item in own], code).ids
    texts = inputs.encode([text for item in own for text in item.texts], code).ids
    whole, given = [], []
    for number, ids in enumerate(texts):
        ids = _without_end(tuple(ids), special)
        context = contexts[number // len(own[0].options)]
        whole.append(ids)
        given.append(ids[: _shared(ids, context)])
    # A prefix of one token predicts nothing. In a causal model, a prefix costs the same alone.
    prefixes = [one if len(one) > 1 else None for one in given]
    run = [*whole, *(one for one in prefixes if one is not None)]
    lost = id_losses(model, tokenizer, run, token_budget)[:, 0]
    found, at = -lost[: len(whole)], len(whole)
    for number, one in enumerate(prefixes):
        if one is not None:
            found[number] += lost[at]
            at += 1
    return found


def _without_end(ids: Ids, special: set[int]) -> Ids:
    """Drop the special tokens at the end: no option is more likely because the text may end there."""
    end = len(ids)
    while end > 1 and ids[end - 1] in special:
        end -= 1
    return ids[:end]


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens two texts begin with alike."""
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
