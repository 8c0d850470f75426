"""One sentence run before the first step, to find out whether an alignment loss could move anything."""

from collections.abc import Sequence

import torch
from torch import nn

from xalign.errors import ArgumentError, ModelError
from xalign.model.batches import Line
from xalign.model.distributed import is_sharded
from xalign.model.observe import observing
from xalign.training.pair_forward import PairForward
from xalign.training.refusals import gradient_reaches


def refuse_without_effect(
    model: nn.Module, forward: PairForward, line: Line, blocks: Sequence[int], all_needed: bool
) -> None:
    """Raise an error where nothing that is trained lies below a block.

    Args:
        model: The model.
        forward: Runs sentences.
        line: A sentence, the shorter the better.
        blocks: The blocks that the loss reads.
        all_needed: Whether each block must be reached, or one of them suffices.

    Raises:
        ModelError: No gradient reaches the model.
    """
    # A gradient that entered in the middle of a sharded model would find its weights not gathered; there,
    # only the flag is looked at.
    sharded = is_sharded(model)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with observing(model), torch.enable_grad():
        states = forward(model, [line], blocks)
        dead = [
            block
            for block, values in zip(blocks, states.by_block, strict=True)
            if not (values.requires_grad if sharded else gradient_reaches(values, trainable))
        ]
    if dead and (all_needed or len(dead) == len(blocks)):
        raise ModelError(
            f"no trainable parameter lies below {dead[0]}.{forward.kind}: the loss could move "
            "nothing. Unfreeze blocks up to there, put adapters on them, or choose a higher layer"
        )


def refuse_blind_first_token(
    model: nn.Module, forward: PairForward, line: Line, blocks: Sequence[int]
) -> None:
    """Raise an error where a sentence's first token has the same state whatever follows it.

    Args:
        model: The model.
        forward: Runs sentences, and takes the states of their first tokens.
        line: A sentence of at least two tokens that are pooled; with only one, nothing can be concluded.
        blocks: The blocks that the loss reads.

    Raises:
        ArgumentError: The first token sees no other.
    """
    ids, pooled = line
    places = [place for place, is_pooled in enumerate(pooled) if is_pooled]
    first, last = places[0], places[-1]
    if ids[last] == ids[first]:
        return
    changed = (*ids[:last], ids[first], *ids[last + 1 :])
    with observing(model):
        states = forward(model, [(ids, pooled), (changed, pooled)], blocks).by_block[-1]
    if torch.equal(states[0], states[1]):
        raise ArgumentError(
            "pool='first': in this model the first token does not see the rest of the sentence, because it "
            "reads from left to right; take pool='last', 'mean' or 'weighted'"
        )
