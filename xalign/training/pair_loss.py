"""Comparing both sides of the pairs with a loss, which is given the options that it names."""

from collections.abc import Iterable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from xalign.errors import ArgumentError, ArgumentTypeError, ModelError
from xalign.losses.loss import Loss
from xalign.losses.similarity import InBatch, in_batch
from xalign.losses.transform import Transform
from xalign.losses.word_level import word_means
from xalign.model.pool import pool, token_weights
from xalign.model.words import NO_WORD
from xalign.training.config import AlignmentConfig
from xalign.training.pair_batch import BatchWords, PairBatch
from xalign.training.pair_forward import PairStates


def is_centred(loss: Loss, config: AlignmentConfig) -> bool:
    """Return whether language means are subtracted: if `centre` is set and the loss takes `languages`."""
    return config.centre and "languages" in loss.options


def compare(
    loss: Loss,
    config: AlignmentConfig,
    states: PairStates,
    pairs: PairBatch,
    weights: Iterable[float],
    start: PairStates | None = None,
) -> tuple[Float[Tensor, ""], InBatch]:
    """Compute the loss over all blocks, and what is logged of the batch.

    Args:
        loss: The loss.
        config: Its options.
        states: The states of all sentences and then of all pivot sentences.
        pairs: The pairs that were run.
        weights: The weight of each block.
        start: The states of the pivot sentences before training, for a loss that asks for them.

    Returns:
        The weighted sum over the blocks, and accuracy and cosines per pair, averaged over the blocks; these
        are of the states before any transform.

    Raises:
        ArgumentTypeError: A loss that returns anything but one number.
        ArgumentError: A loss without a gradient, though the states that it was given have one.
    """
    total, seen = states.rest, []
    before = [None] * len(states.by_block) if start is None else start.by_block
    for weight, values, was in zip(weights, states.by_block, before, strict=True):
        value, block = _compare_block(loss, config, values, states.mask, pairs, was)
        if values.requires_grad and not value.requires_grad:
            raise ArgumentError(
                f"loss {loss.name!r} gave a value without a gradient, though the states it was given have "
                "one: its function detaches them, or computes outside of torch; it could move nothing"
            )
        total = total + weight * value.to(total.device)
        seen.append(block)
    return total, InBatch(
        *(
            torch.stack([getattr(one, name).to(total.device) for one in seen]).mean(dim=0)
            for name in ("accuracy", "positive", "negative")
        )
    )


def _compare_block(
    loss: Loss,
    config: AlignmentConfig,
    values: Tensor,
    mask: Tensor | None,
    pairs: PairBatch,
    start: Tensor | None,
) -> tuple[Float[Tensor, ""], InBatch]:
    n = len(pairs.names)
    language, pivot = values[:n], values[n:]
    same = pairs.same.to(values.device) if config.mask_duplicates else None
    languages = pairs.languages.to(values.device) if is_centred(loss, config) else None
    offered = {
        "temperature": config.temperature,
        "direction": config.direction,
        "languages": languages,
        "same": same,
        "detach_pivot": config.detach_pivot,
        "gather": config.gather,
    }
    sides = language, pivot
    if mask is not None:
        mask = mask.to(values.device)
        offered |= {"language_mask": mask[:n], "pivot_mask": mask[n:]}
        sides = _mean_over_tokens(language, mask[:n]), _mean_over_tokens(pivot, mask[n:])
    language, pivot = _transformed(config.resolved_transform, language, pivot, mask, pairs)
    if start is not None and mask is not None:
        start = pad(start, (0, 0, 0, values.shape[1] - start.shape[1]))
    offered["start"] = start
    if loss.needs_links and pairs.words is not None:
        language, pivot, of_words = _words(language, pivot, start, pairs.words)
        offered |= of_words
    if config.detach_pivot and "detach_pivot" not in loss.options:
        pivot = pivot.detach()
    value = loss.fn(language, pivot, **{name: offered[name] for name in loss.options})
    if not isinstance(value, Tensor) or value.dim():
        got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise ArgumentTypeError(
            f"loss {loss.name!r} must return one number, a tensor without dimensions; it returned {got}"
        )
    return value, in_batch(*sides, languages=languages, same=same)


def _words(
    language: Tensor, pivot: Tensor, start: Tensor | None, words: BatchWords
) -> tuple[Tensor, Tensor, dict[str, Tensor | None]]:
    """Return the words of both sides, and what a loss is offered of words."""
    language, language_mask = word_means(language, _as_long(words.language, language))
    pivot, pivot_mask = word_means(pivot, _as_long(words.pivot, pivot))
    offered: dict[str, Tensor | None] = {
        "language_mask": language_mask,
        "pivot_mask": pivot_mask,
        "links": words.links.to(language.device),
    }
    if start is not None:
        offered["start"], _ = word_means(start, _as_long(words.pivot, start))
    return language, pivot, offered


def _as_long(words: Int[Tensor, "pair token"], states: Tensor) -> Int[Tensor, "pair token"]:
    """Return the words of tokens, padded as their states are."""
    more = states.shape[1] - words.shape[1]
    return pad(words, (0, more), value=NO_WORD).to(states.device)


def _transformed(
    transform: Transform | None, language: Tensor, pivot: Tensor, mask: Tensor | None, pairs: PairBatch
) -> tuple[Tensor, Tensor]:
    """Return both sides as the loss is to see them."""
    if transform is None:
        return language, pivot
    n, shapes = len(language), (language.shape, pivot.shape)
    options = {"languages": pairs.languages.to(language.device)}
    if mask is not None:
        options |= {"language_mask": mask[:n], "pivot_mask": mask[n:]}
    sides = transform.fn(language, pivot, **options)
    if not isinstance(sides, tuple) or [getattr(side, "shape", None) for side in sides] != [*shapes]:
        raise ArgumentTypeError(
            f"transform {transform.name!r} must return both sides, as two tensors of the shapes it is given, "
            f"{tuple(shapes[0])} and {tuple(shapes[1])}; it returned {sides!r:.60}"
        )
    return sides


def names_of(pairs: PairBatch, which: Tensor | None = None) -> str:
    """Return the languages and ids of some pairs, or of all, for an error."""
    names = [f"{code} {name}" for code, name in pairs.names]
    names = names if which is None else [names[row] for row in which.nonzero().flatten().tolist()]
    return f"{', '.join(names[:8])}{' …' if len(names) > 8 else ''}"


def check_value(
    value: Tensor,
    loss: Loss,
    states: PairStates,
    pairs: PairBatch,
    blocks: Iterable[int],
    place: str,
) -> None:
    """Refuse a value with which no step can be made, and tell whether the loss or the model is at fault.

    Args:
        value: The value.
        loss: The loss that gave it.
        states: The states that it was given.
        pairs: The pairs that were run.
        blocks: The blocks of the states.
        place: What is being done, for the error message.

    Raises:
        ArgumentError: A loss that is not finite on finite states.
        ModelError: States that are not finite, or a loss without a gradient.
    """
    if not bool(value.isfinite()):
        cause = not_finite(states, pairs, blocks)
        if cause is None:
            raise ArgumentError(
                f"loss {loss.name!r} is {value.item()} at {place}, on finite states of the pairs "
                f"{names_of(pairs)}: its function divides by zero, takes the logarithm or the root of "
                "what may be 0 or less, or overflows"
            )
        raise ModelError(
            f"the alignment loss is {value.item()} at {place}: {cause}. Lower the learning rate or the "
            "weight, or train in float32 or bfloat16"
        )
    if not value.requires_grad:
        raise ModelError(
            "the alignment loss has no gradient: nothing trainable lies below its layers now, or it was "
            "asked for under torch.no_grad()"
        )


def not_finite(states: PairStates, pairs: PairBatch, blocks: Iterable[int]) -> str | None:
    """Return which pairs have states that are not finite, and at which block; None where all are finite."""
    n = len(pairs.names)
    for block, values in sorted(zip(blocks, states.by_block, strict=True), key=lambda one: one[0]):
        bad = ~values.detach().isfinite().flatten(1).all(dim=1)
        if bool(bad.any()):
            names = names_of(pairs, bad[:n] | bad[n:])
            return f"the states of block {block} are not finite for the pairs {names}"
    return None


@torch.no_grad()
def _mean_over_tokens(values: Float[Tensor, "pair token width"], mask: Tensor) -> Float[Tensor, "pair width"]:
    return pool(values, token_weights(mask, "mean"), "mean")
