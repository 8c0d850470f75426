"""`shift_layers`: between which blocks to shift, from how far apart languages lie (ShifCon)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase

from xalign.checks import known_options, positive
from xalign.errors import ArgumentError
from xalign.finding.activations import activations, check_texts
from xalign.metrics.subspace_distance import subspace_distance
from xalign.model.architectures.map import map_model
from xalign.steering.interventions.pivot_shift import input_of_block
from xalign.steering.interventions.reading import two_languages


@dataclass(frozen=True, slots=True)
class ShiftLayers:
    """Blocks between which a language lies nearest to the pivot.

    Attributes:
        distances: Block -> the distance of the two languages' states at its input.
        nearest: The blocks with the smallest distances, in their order.
        to: The first of these.
        back: The block after the last of these.
    """

    distances: Mapping[int, float]
    nearest: tuple[int, ...]
    to: int
    back: int


def shift_layers(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    texts: Mapping[str, Sequence[str]],
    language: str,
    pivot: str = "eng_Latn",
    *,
    share: float = 0.3,
    ridge: float = 0.0,
    **options: Any,
) -> ShiftLayers:
    """Choose the blocks between which to shift: those at whose input the two languages are nearest.

    Args:
        model: The model; it is only read.
        tokenizer: Its tokenizer.
        texts: Language -> sentences: more per language than a state has coordinates, unless `ridge` is set.
        language: The language to shift.
        pivot: The language to shift to.
        share: Which share of the blocks is chosen, rounded up.
        ridge: As in `subspace_distance`.
        **options: `pool` (`"mean"`), `pool_special_tokens`, `truncate`, `source_codes` and `token_budget` of
            `activations`.

    Returns:
        The distances and the choice, whose `to` and `back` are those of `pivot_shift`. The blocks between
        them that are not among the nearest are shifted too.

    Raises:
        ArgumentError: As in `subspace_distance`, or a share outside (0, 1].

    Reference:
        Zhang et al. (2025), ShifCon, arXiv 2410.19453, §3.2, who take the lowest 30 %.

    Example:
        >>> texts = {"eng_Latn": ["It rains.", "Good night."], "deu_Latn": ["Es regnet.", "Gute Nacht."]}
        >>> found = shift_layers(model, tokenizer, texts, "deu_Latn", ridge=0.1)
        >>> 0 <= found.to < found.back <= 3
        True
    """
    check_texts(texts, least=2)
    known_options("shift_layers", options, _READING)
    if positive("share", share) > 1:
        raise ArgumentError(f"share={share} must be above 0 and at most 1")
    known, towards = two_languages(texts, language, pivot)
    blocks = {input_of_block(block): block for block in range(map_model(model).n_layers)}
    sides = {known: texts[known], towards: texts[towards]}
    distances = {}
    for found in activations(model, tokenizer, sides, list(blocks), **{"pool": "mean"} | options):
        own, theirs = (found.values[found.of(number)] for number in (0, 1))
        distances[blocks[found.site]] = subspace_distance(own, theirs, ridge=ridge)
    ranked = sorted(distances, key=lambda block: (distances[block], block))
    nearest = tuple(sorted(ranked[: math.ceil(share * len(ranked))]))
    return ShiftLayers(distances, nearest, nearest[0], nearest[-1] + 1)


_READING = ("pool", "pool_special_tokens", "truncate", "source_codes", "token_budget")
