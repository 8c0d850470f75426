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
from xalign.model.wrapped import config_of
from xalign.steering.interventions.answers import Answers, GeneratedAnswer, LikeliestOption
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

    That is an oracle: with so many tries, many items are solved by chance. So the same is done with
    transplants from the source prompt of a random other item, and both are reported.

    It takes (1 + controls) × pairs + 1 passes over the items. All N² pairs of a model of 32 blocks are 1,024.

    Args:
        model: The model; it is only run.
        tokenizer: Its tokenizer.
        prompts: The prompt of each item, for example in the language that is weak.
        sources: Its source prompt, for example the same question in English.
        answers: What says that an item is solved: a `LikeliestOption`, a `GeneratedAnswer`, or a function
            (number of the item, generated text) -> bool.
        sub_layer: As in `transplant`.
        compat_alias: As in `transplant`.
        pairs: (source block, target block) of each try; all where None.
        controls: How often other items are drawn.
        seed: Seeds these draws.
        batch_size: Items per batch.

    Returns:
        What was solved, with the shares of the plain model, of the union, and of the chance union.

    Raises:
        ArgumentError: Prompts and sources of different numbers, blocks that do not exist, or no item with
            another source to draw.

    Reference:
        Ye et al. (2024), Exploring Cross-lingual Latent Transplantation, §4, arXiv 2412.12686. The control is
        ours.

    Example:
        >>> options = LikeliestOption([[" good", " bad"]] * 2, answers=[0, 1])
        >>> prompts, sources = ["Das ist", "Es ist nicht"], ["That is", "It is not"]
        >>> tries = [(2, 0), (2, 1)]
        >>> bound = transplant_upper_bound(model, tokenizer, prompts, sources, options, pairs=tries)
        >>> bound.plain_share <= 1, bound.union <= 1, bound.chance_union <= 1
        (True, True, True)
    """
    judge, kind = _judge(answers), checked_sub_layer(sub_layer, compat_alias=compat_alias)
    own, theirs = (
        prompt_ids(model, tokenizer, one, name) for one, name in ((prompts, "prompts"), (sources, "sources"))
    )
    if len(own) != len(theirs):
        raise ArgumentError(f"prompts are {len(own)} and sources {len(theirs)}; give one of each per item")
    judge.check(len(own))
    tries = _checked_pairs(pairs, map_model(model).n_layers)
    draws = [
        _others(theirs, seed=seed, number=number) for number in range(whole_number("controls", controls))
    ]
    layers = sorted({source for source, _ in tries})
    states = source_states(model, tokenizer, theirs, kind, layers, compat_alias=compat_alias)
    run = _Run(model, tokenizer, own, judge, whole_number("batch_size", batch_size, least=1))
    with observing(model):
        plain = run.solved(_unsteered)
        solved = [
            [run.solved(_steering(model, states[i][draw], Site(kind, j))) for i, j in tries]
            for draw in (list(range(len(own))), *draws)
        ]
    found = torch.stack([torch.stack(one) for one in solved])
    name = str(getattr(config_of(model), "_name_or_path", ""))
    return TransplantBound(tuple(tries), plain, found[0], found[1:], {"model": name, "sub_layer": kind})


@dataclass(frozen=True, slots=True)
class _Run:
    """Everything that stays the same over the tries."""

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    prompts: Sequence[tuple[int, ...]]
    judge: Answers
    batch_size: int

    def solved(self, steered: Callable[..., AbstractContextManager[Any]]) -> Bool[Tensor, " item"]:
        """Return per item whether it is solved under a way to steer."""
        found = torch.zeros(len(self.prompts), dtype=torch.bool)
        for items in self._batches():
            prompts = [self.prompts[item] for item in items]
            found[items] = self.judge.solved(self.model, self.tokenizer, prompts, items, steered)
        return found

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


def _judge(answers: Answers | Callable[[int, str], bool]) -> Any:
    if isinstance(answers, GeneratedAnswer | LikeliestOption) or hasattr(answers, "solved"):
        return answers
    function_of("answers", answers, "item", "text")
    return GeneratedAnswer(answers)


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


def _others(sources: Sequence[tuple[int, ...]], *, seed: int, number: int) -> list[int]:
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
