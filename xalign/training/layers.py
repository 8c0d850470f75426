"""Which layers an alignment loss acts on: named by the user, or chosen by measuring."""

import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real

from torch import nn
from transformers import PreTrainedTokenizerBase

from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.measurement import MeasureOptions, measure
from xalign.metrics import METRICS
from xalign.metrics.metric import Metric, resolve_metrics
from xalign.model.architectures.sites import Kind
from xalign.pairs.parallel import ParallelPairs
from xalign.results.standing import bars_in, standing
from xalign.warn import warn

LayerChoice = int | float | str | Sequence[int | float] | Mapping[int | float, float]
AUTO = "auto"
HEADROOM = 0.9


def parse_layers(choice: LayerChoice) -> dict[int | float, float] | str:
    """Read a choice of layers.

    Args:
        choice: `8`, `.5` (a fraction of the depth), `[4, 8]`, `{4: .5, 8: 1.0}` (with weights), or the same
            as text, `"8"`, `"0.5"`, `"4,8"`, `"4:.5,8:1"`; `"all"`, or `"auto"`.

    Returns:
        Layer -> weight, whole numbers for blocks and floats for fractions of the depth; or `"all"` or
        `"auto"`.

    Raises:
        ArgumentError: A negative layer, a fraction outside (0, 1], a weight that is not above 0, no layer, a
            layer named twice, or text that is not a choice of layers.
        ArgumentTypeError: A choice that is not a number, text, a list or a mapping; a layer or a weight that
            is not a number.

    Example:
        >>> parse_layers("4:.5,8:.5")
        {4: 0.5, 8: 0.5}
    """
    if isinstance(choice, str):
        text = choice.strip().lower()
        if text in ("all", AUTO):
            return text
    pairs = _layers_and_weights(choice)
    if not pairs:
        raise ArgumentError(f"layer={choice!r} names no layer")
    read = [_checked(layer, weight, choice) for layer, weight in pairs]
    if len(dict(read)) < len(read):
        raise ArgumentError(f"layer={choice!r} names a layer twice")
    return dict(read)


def blocks_of(layers: Mapping[int | float, float] | str, n_layers: int) -> dict[int, float]:
    """Return block -> weight, with weights that sum to 1.

    Args:
        layers: What `parse_layers` returned; not `"auto"`.
        n_layers: The number of blocks; a fraction f of the depth is block ⌈f · n_layers⌉ − 1.

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


def metric_of(kind: Kind) -> Metric:
    """Return the metric by which `layer="auto"` chooses a layer for a loss.

    It is the first one with a lexical floor that reads what the loss reads: hidden states, or else the
    states of neurons.

    Args:
        kind: The kind of site that the loss reads.
    """
    reads = "hidden" if kind == "hidden" else "neuron_states"
    return next(metric for metric in METRICS.values() if metric.reads == reads and metric.has_floor)


def choose_layer(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    held_out: Sequence[ParallelPairs],
    metric: str | Metric,
    options: MeasureOptions,
) -> tuple[int, str]:
    """Choose the block with the highest margin over its lexical floor that still has headroom.

    A loss can achieve most where translations are already close, but not yet fully aligned.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        held_out: Sets of pairs that are not trained on; each language of each set counts the same.
        metric: What to measure, with a lexical floor: see `metric_of`.
        options: Of `measure`.

    Returns:
        The block, and the reason for it in words. A warning is given if there is no language in which the
        block's whole interval is above its floor and chance.
    """
    (metric,) = resolve_metrics([metric], METRICS)
    margins: dict[int, float] = {}
    scores: dict[int, float] = {}
    clear: set[int] = set()
    share = 1 / sum(map(len, held_out))
    reports = (measure(model, tokenizer, pairs, [metric], **options) for pairs in held_out)
    for report, row in ((one, row) for one in reports for row in one.to_rows()):
        if not isinstance(row["layer"], int):
            continue
        scores[row["layer"]] = scores.get(row["layer"], 0.0) + share * row["value"]
        margins[row["layer"]] = margins.get(row["layer"], 0.0) + share * (row["value"] - row["floor"])
        unknown = report.stats[row["language"]].unknown_share
        if standing((row["low"], row["high"]), bars_in(row), metric.scale, unknown) == "better":
            clear.add(row["layer"])
    with_headroom = [block for block in scores if scores[block] <= HEADROOM] or list(scores)
    best = max(with_headroom, key=lambda block: margins[block])
    if best not in clear or margins[best] <= 0:
        warn(
            f"no block is above its lexical floor and chance on the held-out pairs (the best, {best}, by "
            f"{margins[best]:+.3f}, is not with its whole interval in any language), so layer='auto' has no "
            "evidence to choose by; name a layer"
        )
    languages = ", ".join(dict.fromkeys(code for pairs in held_out for code in pairs))
    return best, (
        f"block {best}: {metric.name} {scores[best]:.3f} on held-out pairs ({languages}), "
        f"{margins[best]:+.3f} over its lexical floor, the highest margin of the {len(with_headroom)} blocks "
        f"at or below {HEADROOM} (of {len(scores)} measured)"
    )


def _layers_and_weights(choice: object) -> list[tuple[object, object]]:
    if isinstance(choice, str):
        items = [item.partition(":") for item in choice.split(",") if item.strip()]
        return [(_number(layer, choice), _number(weight or "1", choice)) for layer, _, weight in items]
    if isinstance(choice, Mapping):
        return list(choice.items())
    if isinstance(choice, Real):
        return [(choice, 1.0)]
    if isinstance(choice, Sequence):
        return [(layer, 1.0) for layer in choice]
    raise ArgumentTypeError(f"layer={choice!r:.60} must be a layer, a list of layers, 'all' or 'auto'")


def _checked(layer: object, weight: object, choice: object) -> tuple[int | float, float]:
    place, factor = _real(layer, choice), _real(weight, choice)
    if not factor > 0 or math.isinf(factor):
        raise ArgumentError(f"layer={choice!r}: weight {weight} must be above 0")
    if place < 0:
        raise ArgumentError(f"layer={choice!r}: {layer} is negative; blocks are counted from 0")
    if isinstance(layer, Integral):
        return int(layer), factor
    if not 0 < place <= 1:
        raise ArgumentError(
            f"layer={choice!r}: {layer} is a share of the depth and must lie in (0, 1]; blocks are whole "
            "numbers"
        )
    return place, factor


def _real(value: object, choice: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ArgumentTypeError(f"layer={choice!r}: {value!r:.60} is not a number")
    try:
        return float(value)
    except OverflowError:
        raise ArgumentError(f"layer={choice!r:.60}: {value!r:.60} is no layer of any model") from None


def _number(text: str, choice: str) -> int | float:
    text = text.strip()
    try:
        return int(text) if text.lstrip("+-").isdecimal() else float(text)
    except ValueError:
        raise ArgumentError(
            f"layer={choice!r} must be like '8', '0.5', '4,8', '4:.5,8:.5', 'all' or 'auto'"
        ) from None
