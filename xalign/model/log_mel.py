"""Log-mel means: what a recording sounds like on average, without any model."""

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers.audio_utils import mel_filter_bank

from xalign.model.audio_inputs import Recording

_RATE, _WINDOW, _HOP, _BINS = 16_000, 400, 160, 80  # 25 ms every 10 ms, as speech models take it
_QUIETEST = 1e-10


def log_mel_means(recordings: Sequence[Recording]) -> Float[Tensor, "recording bin"]:
    """Return the mean over time of each recording's log-mel spectrum, of 80 bins at 16 kHz.

    Args:
        recordings: The recordings.

    Example:
        >>> from xalign import Audio
        >>> import numpy as np
        >>> low, high = (Audio(np.sin(np.arange(8000) * step), rate=16000) for step in (0.1, 1.0))
        >>> log_mel_means([low, high]).argmax(dim=1).tolist()
        [6, 50]
    """
    return torch.stack([torch.from_numpy(_mean(np.asarray(one.at(_RATE), np.float64))) for one in recordings])


def _mean(samples: Float[np.ndarray, " sample"]) -> Float[np.ndarray, " bin"]:
    if len(samples) < _WINDOW:
        samples = np.pad(samples, (0, _WINDOW - len(samples)))
    frames = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::_HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(_WINDOW), axis=1)) ** 2
    mean: Float[np.ndarray, " bin"] = np.log10(np.maximum(power @ _filters(), _QUIETEST)).mean(axis=0)
    return mean


@cache
def _filters() -> Float[np.ndarray, "frequency bin"]:
    found: Float[np.ndarray, "frequency bin"] = mel_filter_bank(
        num_frequency_bins=_WINDOW // 2 + 1,
        num_mel_filters=_BINS,
        min_frequency=0.0,
        max_frequency=_RATE / 2,
        sampling_rate=_RATE,
        norm="slaney",
        mel_scale="slaney",
    )
    return found
