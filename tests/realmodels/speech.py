"""Synthetic speech: what espeak-ng says, at the rate that speech models take."""

import io
import shutil
import subprocess
import wave

import numpy as np
from scipy.signal import resample_poly

from xalign.errors import MissingExtraError

RATE = 16_000  # samples per second


def speak(sentence: str, voice: str) -> np.ndarray:
    """Return a sentence as speech: samples from -1 to 1 in float32, 16,000 a second.

    Args:
        sentence: What is said.
        voice: A voice of espeak-ng, such as `de`.

    Raises:
        MissingExtraError: espeak-ng is not installed.
    """
    if shutil.which("espeak-ng") is None:
        raise MissingExtraError("espeak-ng is not installed: apt-get install espeak-ng")
    command = ["espeak-ng", "-v", voice, "--stdout", "--", sentence]
    sound = subprocess.run(command, check=True, capture_output=True).stdout
    with wave.open(io.BytesIO(sound)) as file:
        # Written to a pipe, the header cannot know how many frames follow: read what is there.
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 2**15
        rate = file.getframerate()
    return resample_poly(samples, RATE, rate).astype(np.float32)
