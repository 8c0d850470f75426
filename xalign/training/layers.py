"""Which layers an alignment loss pulls at: named outright, or chosen by measuring."""

import math
import warnings
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase

from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.measurement import MeasureOptions, measure
from xalign.pairs.parallel import ParallelPairs

LayerChoice = int | float | str | Sequence[int | float] | Mapping[int | float, float]
AUTO = "auto"
HEADROOM = 0.9


def parse_layers(choice: LayerChoice) -> dict[int | float, float] | str:
    """What a choice of layers means.

    Args:
        choice: `8`, `.5` (a share of the depth), `[4, 8]`, `{4: .5, 8: 1.0}` (with weights), or the same as
            text, `"8"`, `"0.5"`, `"4,8"`, `"4:.5,8:1"`; `"all"`, or `"auto"`.

    Returns:
        Layer -> weight, whole numbers for blocks and floats for shares of the depth; or `"all"` or `"auto"`.

    Raises:
        ArgumentError: A negative layer, a share outside (0, 1], a weight that is not above 0, no layer.
        ArgumentTypeError: What is no layer at all.

    Example:
        >>> parse_layers("4:.5,8:.5")
        {4: 0.5, 8: 0.5}
    """
    pairs: list[tuple[Any, Any]]
    if isinstance(choice, str):
        text = choice.strip().lower()
        if text in ("all", AUTO):
            return text
        items = [item.partition(":") for item in text.split(",") if item.strip()]
        pairs = [(_number(layer, choice), _number(weight or "1", choice)) for layer, _, weight in items]
    elif isinstance(choice, Mapping):
        pairs = list(choice.items())
    elif isinstance(choice, Real):
        pairs = [(choice, 1.0)]
    elif isinstance(choice, Sequence):
        pairs = [(layer, 1.0) for layer in choice]
    else:
        raise ArgumentTypeError(f"layer={choice!r:.60} must be a layer, a list of layers, 'all' or 'auto'")
    if not pairs:
        raise ArgumentError(f"layer={choice!r} names no layer")
    for layer, weight in pairs:
        for value in (layer, weight):
            if isinstance(value, bool) or not isinstance(value, Real):
                raise ArgumentTypeError(f"layer={choice!r}: {value!r:.60} is no number")
        if not weight > 0 or math.isinf(weight):
            raise ArgumentError(f"layer={choice!r}: weight {weight} must be above 0")
        if layer < 0:
            raise ArgumentError(f"layer={choice!r}: {layer} is negative; blocks are counted from 0")
        if not isinstance(layer, Integral) and not 0 < layer <= 1:
            raise ArgumentError(
                f"layer={choice!r}: {layer} is a share of the depth and must lie in (0, 1]; blocks are "
                "whole numbers"
            )
    if len({layer for layer, _ in pairs}) < len(pairs):
        raise ArgumentError(f"layer={choice!r} names a layer twice")
    return {
        int(layer) if isinstance(layer, Integral) else float(layer): float(weight) for layer, weight in pairs
    }


def blocks_of(layers: Mapping[int | float, float] | str, n_layers: int) -> dict[int, float]:
    """Block -> weight, weights summing to 1.

    Args:
        layers: What `parse_layers` gave, but `"auto"`.
        n_layers: The number of blocks; a share f of the depth is block ⌈f · n_layers⌉ − 1.

    Raises:
        ArgumentError: A block that the model does not have, or two names of one block.

    Example:
        >>> blocks_of({0.5: 1.0, 7: 3.0}, 8)
        {3: 0.25, 7: 0.75}
    """
    if isinstance(layers, str):
        return dict.fromkeys(range(n_layers), 1 / n_layers)
    found: dict[int, float] = {}
    for layer, weight in layers.items():
        block = math.ceil(layer * n_layers) - 1 if isinstance(layer, float) else layer
        if block >= n_layers:
            raise ArgumentError(f"layer={layer}: the model has blocks 0 to {n_layers - 1}")
        if block in found:
            raise ArgumentError(f"layer={layer} is block {block}, which is named twice")
        found[block] = weight
    total = sum(found.values())
    return {block: weight / total for block, weight in found.items()}


def choose_layer(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    held_out: Sequence[ParallelPairs],
    metric: str,
    options: MeasureOptions,
) -> tuple[int, str]:
    """The block with the highest margin over its lexical floor that still has headroom.

    Where translations already meet somewhat, and not yet wholly, a loss has something to take hold of.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        held_out: Sets of pairs that are not trained on; each language of each counts the same.
        metric: `nasca` for losses on gates, `mexa` for losses on hidden states.
        options: Of `measure`.

    Returns:
        The block, and why it was taken, in words. Where no block is above its floor, a warning says so.
    """
    margins: dict[int, float] = {}
    scores: dict[int, float] = {}
    share = 1 / sum(map(len, held_out))
    for row in (
        row
        for pairs in held_out
        for row in measure(model, tokenizer, pairs, [metric], **options).to_rows()
        if isinstance(row["layer"], int)
    ):
        scores[row["layer"]] = scores.get(row["layer"], 0.0) + share * row["value"]
        margins[row["layer"]] = margins.get(row["layer"], 0.0) + share * (row["value"] - row["floor"])
    with_headroom = [block for block in scores if scores[block] <= HEADROOM] or list(scores)
    best = max(with_headroom, key=lambda block: margins[block])
    if margins[best] <= 0:
        warnings.warn(
            f"no block is above its lexical floor on the held-out pairs (the best, {best}, by "
            f"{margins[best]:+.3f}), so that layer='auto' has nothing to go by; name a layer",
            UserWarning,
            stacklevel=4,
        )
    languages = ", ".join(dict.fromkeys(code for pairs in held_out for code in pairs))
    return best, (
        f"block {best}: {metric} {scores[best]:.3f} on held-out pairs ({languages}), {margins[best]:+.3f} "
        f"over its lexical floor, the highest margin of the {len(with_headroom)} blocks at or below "
        f"{HEADROOM} (of {len(scores)} measured)"
    )


def _number(text: str, choice: str) -> int | float:
    text = text.strip()
    try:
        return int(text) if text.lstrip("+-").isdecimal() else float(text)
    except ValueError:
        raise ArgumentError(
            f"layer={choice!r} must be like '8', '0.5', '4,8', '4:.5,8:.5', 'all' or 'auto'"
        ) from None
