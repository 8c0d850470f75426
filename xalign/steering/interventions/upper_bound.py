"""`transplant_upper_bound`: how many items any transplant solves, beside transplants from other items."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from xalign.checks import function_of, whole_number
from xalign.errors import ArgumentError
from xalign.model.architectures.map import map_model
from xalign.model.architectures.sites import Site
from xalign.model.observe import observing
from xalign.steering.interventions.answers import Answers, GeneratedAnswer
from xalign.steering.interventions.token_states import Prompt, prompt_ids
from xalign.steering.interventions.transplant import (
    SubLayer,
    checked_sub_layer,
    source_states,
    transplanted,
)
from xalign.steering.interventions.transplant_bound import TransplantBound
from xalign.steering.steer import steer

Pairs = Sequence[tuple[int, int]]


def transplant_upper_bound(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    sources: Sequence[Prompt],
    answers: Answers | Callable[[int, str], bool],
    *,
    sub_layer: SubLayer = "mlp_out",
    compat_alias: bool = False,
    pairs: Pairs | None = None,
    controls: int = 1,
    seed: int = 0,
    batch_size: int = 16,
) -> TransplantBound:
    """Transplant from every block to every block, and count the items that any pair of blocks solves.

    With so many tries, many items are solved by chance. So the same is done with transplants from the source
    prompt of a random other item. This takes (1 + controls) × pairs + 1 passes; 32 blocks make 1,024 pairs.

    Args:
        model: The model; it is only run.
        tokenizer: Its tokenizer.
        prompts: The prompt of each item.
        sources: The source prompt of each item, for example the same question in English.
        answers: A `LikeliestOption`, a `GeneratedAnswer`, or a function (item, generated text) -> solved.
        sub_layer: As in `transplant`.
        compat_alias: As in `transplant`.
        pairs: (source block, target block) of each try; all if None.
        controls: How often other items are drawn.
        seed: Seed of these draws.
        batch_size: Items per batch.

    Returns:
        What was solved by the plain model, by each transplant, and by each control.

    Raises:
        ArgumentError: Different numbers of prompts and sources, unknown blocks, or no other item to draw.

    Reference:
        Ye et al. (2024), Exploring Cross-lingual Latent Transplantation, §4. The control is ours.

    Example:
        >>> args = ["Das ist", "Es ist"], ["That is", "It is"], lambda item, text: "gut" in text
        >>> transplant_upper_bound(model, tokenizer, *args, pairs=[(2, 0), (2, 1)]).union <= 1
        True
    """
    kind = checked_sub_layer(sub_layer, compat_alias=compat_alias)
    own, theirs = _items(model, tokenizer, prompts, sources)
    run = _Run(model, tokenizer, own, _judge(answers, len(own)), batch_size)
    tries = _checked_pairs(pairs, map_model(model).n_layers)
    draws = [list(range(len(own))), *_draws(theirs, controls, seed)]
    layers = sorted({source for source, _ in tries})
    states = source_states(model, tokenizer, theirs, kind, layers, compat_alias=compat_alias)
    with observing(model):
        plain = run.solved(_unsteered)
        solved = [[run.transplanted(states[i][draw], Site(kind, j)) for i, j in tries] for draw in draws]
    found = torch.stack([torch.stack(one) for one in solved])
    origin = {"model": map_model(model).name, "sub_layer": kind, "compat_alias": compat_alias, "seed": seed}
    return TransplantBound(tuple(tries), plain, found[0], found[1:], origin)


def _items(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    sources: Sequence[Prompt],
) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Return the token ids of each item's prompt and source prompt."""
    own = prompt_ids(model, tokenizer, prompts, "prompts")
    theirs = prompt_ids(model, tokenizer, sources, "sources")
    if len(own) != len(theirs):
        raise ArgumentError(f"prompts are {len(own)} and sources {len(theirs)}; give one of each per item")
    return own, theirs


@dataclass(frozen=True, slots=True)
class _Run:
    """Everything that stays the same over the tries."""

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    prompts: Sequence[tuple[int, ...]]
    judge: Answers
    batch_size: int

    def __post_init__(self) -> None:
        """Check the size."""
        whole_number("batch_size", self.batch_size, least=1)

    def solved(self, steered: Callable[..., AbstractContextManager[Any]]) -> Bool[Tensor, " item"]:
        """Return per item whether it is solved under a way to steer."""
        found = torch.zeros(len(self.prompts), dtype=torch.bool)
        for items in self._batches():
            prompts = [self.prompts[item] for item in items]
            found[items] = self.judge.solved(self.model, self.tokenizer, prompts, items, steered)
        return found

    def transplanted(self, rows: Tensor, site: Site) -> Bool[Tensor, " item"]:
        """Return per item whether it is solved with its row written at a site."""
        return self.solved(_steering(self.model, rows, site))

    def _batches(self) -> Iterator[list[int]]:
        """Yield items of similar length."""
        order = sorted(range(len(self.prompts)), key=lambda item: len(self.prompts[item]))
        for start in range(0, len(order), self.batch_size):
            yield order[start : start + self.batch_size]


def _unsteered(items: Sequence[int], prompt_length: Tensor | None = None) -> AbstractContextManager[Any]:  # noqa: ARG001
    return nullcontext()


def _steering(model: nn.Module, rows: Tensor, site: Site) -> Callable[..., AbstractContextManager[Any]]:
    """Return the function that steers a batch: each row with what belongs to its item."""

    def steered(items: Sequence[int], prompt_length: Tensor | None = None) -> AbstractContextManager[Any]:
        # A row of its own for each, also in a batch of one.
        what = transplanted(f"transplant to {site}", rows[list(items)], site, {})
        return steer(model, what, prompt_length=prompt_length)

    return steered


def _judge(answers: Any, n: int) -> Answers:
    """Return what judges n items."""
    if not hasattr(answers, "solved"):
        function_of("answers", answers, "item", "text")
        return GeneratedAnswer(answers)
    judge: Answers = answers
    judge.check(n)
    return judge


def _checked_pairs(pairs: Pairs | None, n_layers: int) -> list[tuple[int, int]]:
    if pairs is None:
        return [(source, target) for source in range(n_layers) for target in range(n_layers)]
    found = []
    for pair in pairs:
        if not isinstance(pair, Sequence) or len(pair) != 2:
            raise ArgumentError(f"pairs holds {pair!r:.60}; each must be (source block, target block)")
        source, target = (whole_number("pairs", layer) for layer in pair)
        if max(source, target) >= n_layers:
            raise ArgumentError(f"pairs holds {(source, target)}, and the model has {n_layers} blocks from 0")
        found.append((source, target))
    if not found or len(set(found)) < len(found):
        raise ArgumentError(f"pairs={pairs!r:.60} must be different pairs, at least one")
    return found


def _draws(sources: Sequence[tuple[int, ...]], controls: int, seed: int) -> list[list[int]]:
    """Return other items for each item, as often as there are controls."""
    return [_others(sources, seed, number) for number in range(whole_number("controls", controls))]


def _others(sources: Sequence[tuple[int, ...]], seed: int, number: int) -> list[int]:
    """Return for each item a random other one whose source prompt is not the same."""
    draw = random.Random(f"{whole_number('seed', seed)} {number}")
    found = []
    for item, source in enumerate(sources):
        others = [other for other, one in enumerate(sources) if one != source]
        if not others:
            raise ArgumentError(
                f"item {item} has no other item with another source to draw; give more items, or controls=0"
            )
        found.append(draw.choice(others))
    return found
