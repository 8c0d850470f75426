"""`inputs_for`: what a model takes, for sentences that are written or spoken."""

from typing import TYPE_CHECKING, Any, TypeAlias, cast

from torch import nn
from transformers import FeatureExtractionMixin, PreTrainedTokenizerBase

from xalign.errors import ArgumentTypeError, ModelError
from xalign.model.audio_inputs import AudioInputs, takes_sound_alone
from xalign.model.inputs import Inputs
from xalign.model.wrapped import base_model_of

if TYPE_CHECKING:
    from transformers import ProcessorMixin  # it imports accelerate

Processing: TypeAlias = "PreTrainedTokenizerBase | FeatureExtractionMixin | ProcessorMixin"
"""A tokenizer; for recordings a feature extractor, or a processor that holds one."""


def inputs_for(model: nn.Module, processing: Processing, is_audio: bool) -> Any:
    """Return `Inputs` for text, or `AudioInputs` for recordings.

    Args:
        model: The model.
        processing: Its tokenizer; for recordings, its feature extractor or processor.
        is_audio: Whether the sentences are spoken.

    Raises:
        ModelError: Text for a model that takes sound alone, or recordings for one that takes none.
        ArgumentTypeError: A feature extractor for text, or a tokenizer for recordings.
    """
    if is_audio:
        return AudioInputs(model, processing)
    if takes_sound_alone(model):
        raise ModelError(
            f"these sentences are text, and {type(base_model_of(model)).__name__} takes sound: give "
            "recordings, xalign.Audio in place of strings"
        )
    if isinstance(processing, FeatureExtractionMixin):
        raise ArgumentTypeError(
            f"tokenizer is {type(processing).__name__}, which is for sound, and these sentences are text: "
            "pass the model's tokenizer"
        )
    return Inputs(model, cast(PreTrainedTokenizerBase, processing))
