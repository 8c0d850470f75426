"""How many states a speech model gives for what goes in."""

from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import nn

# What models call the function that knows it.
_NAMES = ("_get_feat_extract_output_lengths", "_get_subsampling_output_length")


def frames_of(base: nn.Module) -> Callable[[int], int]:
    """Return the function from a number of values along time to the number of states of each block.

    wav2vec2 gives a state for each 320 samples, Whisper one for two frames of its features. What a model says
    of itself is taken; a model that says nothing, like w2v-BERT's, gives one for each frame.

    Args:
        base: The model, without wrappers.

    Example:
        >>> from transformers import Wav2Vec2Config, Wav2Vec2Model
        >>> small = Wav2Vec2Config(hidden_size=32, num_hidden_layers=1, num_attention_heads=4, vocab_size=8)
        >>> frames_of(Wav2Vec2Model(small))(16_000)
        49
    """
    for module in base.modules():
        for name in _NAMES:
            found: Any = getattr(module, name, None)
            if found is not None:
                return partial(_called, _without_adapter(found))
    return int


def _without_adapter(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function for states of blocks: an adapter above them makes the states fewer."""
    if "add_adapter" in signature(function).parameters:
        return partial(function, add_adapter=False)
    return function


def _called(function: Callable[..., Any], given: int) -> int:
    return int(function(torch.tensor(given)))
