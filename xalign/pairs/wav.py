"""Read WAV files, and bring the samples of any file to floats from -1 to 1."""

import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Float32
from scipy.io import wavfile

from xalign.errors import PairsError


def read_wav(file: Path | BinaryIO, name: str) -> tuple[np.ndarray[Any, Any], int]:
    """Read a WAV file.

    Args:
        file: Its path, or its content.
        name: What an error calls it.

    Returns:
        The samples as the file holds them, [sample] or [sample, channel], and how many there are per second.

    Raises:
        PairsError: It cannot be read, or is of another format.
    """
    try:
        with warnings.catch_warnings():
            # Of titles and the like, which are no samples, and of headers that were written to a pipe.
            warnings.simplefilter("ignore", wavfile.WavFileWarning)
            rate, samples = wavfile.read(file)
    except OSError as error:
        raise PairsError(f"{name} cannot be read: {error!s:.100}") from None
    except Exception as error:  # scipy raises what its unpacking meets
        raise PairsError(
            f"{name} is no WAV file of PCM or floats ({error!s:.100}); convert it, for example with "
            "ffmpeg -i recording.mp3 -ac 1 -ar 16000 recording.wav"
        ) from None
    return samples, int(rate)


def as_floats(samples: np.ndarray[Any, Any]) -> Float32[np.ndarray, " sample"] | None:
    """Return a copy of samples as floats from -1 to 1; None if their type is not one of audio samples.

    Example:
        >>> import numpy as np
        >>> as_floats(np.array([0, -32768], np.int16)).tolist()
        [0.0, -1.0]
    """
    if samples.dtype.kind == "f":
        return samples.astype(np.float32)
    if samples.dtype == np.uint8:  # the only type that is written without a sign
        return ((samples.astype(np.float64) - 128) / 128).astype(np.float32)
    if samples.dtype in (np.int16, np.int32):
        return (samples.astype(np.float64) / 2.0 ** (8 * samples.itemsize - 1)).astype(np.float32)
    return None
