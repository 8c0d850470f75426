"""`sound_tokens`: what is known of the states of a forward that is given sound."""

from typing import Any

import torch
from torch import Tensor, nn

from xalign.model.audio_inputs import SOUND
from xalign.model.frames import frames_of
from xalign.model.tokens import Numbered, Tokens, Unknown
from xalign.model.wrapped import base_model_of

_NO_MASK = Unknown(
    "the forward was given features of sound without an attention_mask; give it the one that the feature "
    "extractor returns with return_attention_mask=True"
)


def sound_tokens(model: nn.Module, given: dict[str, Any]) -> Tokens | None:
    """Return what is known of the states of a forward, which are frames; None where it is given no sound.

    All of them are prompt.

    Args:
        model: The model that is called.
        given: The arguments of the forward.
    """
    sound = next((given[name] for name in SOUND if isinstance(given.get(name), Tensor)), None)
    if sound is None:
        return None
    mask, frames = given.get("attention_mask"), frames_of(base_model_of(model))
    if not isinstance(mask, Tensor) or mask.dim() != 2:
        if sound.dim() != 2:  # bins before frames, or frames before bins
            return Tokens(sound.shape[:1], None, *(5 * (_NO_MASK,)))
        mask = torch.ones(sound.shape, dtype=torch.bool, device=sound.device)
    column = torch.arange(frames(mask.shape[1]), device=sound.device)
    lengths = torch.tensor([frames(int(one)) for one in mask.sum(1)], device=sound.device).unsqueeze(1)
    real = column < lengths
    shape = torch.Size((len(sound), len(column)))
    numbers = Numbered.within(real)
    return Tokens(shape, None, column, real, torch.ones_like(real), column == lengths - 1, numbers)
