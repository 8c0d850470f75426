"""`Audio`: one recording, as an item of parallel speech."""

import hashlib
from collections.abc import Callable
from math import gcd
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32
from scipy.signal import resample_poly

from xalign.checks import whole_number
from xalign.errors import ArgumentError, ArgumentTypeError, PairsError
from xalign.pairs.wav import as_floats, read_wav

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    Item = TypeVar("Item", bound="str | Audio", default=str)  # what parallel pairs consist of
else:
    from typing import TypeVar

    Item = TypeVar("Item")

Samples = Float32[np.ndarray, " sample"]
_LOWEST_RATE = 1000
_LOUDEST = 16.0  # samples lie between -1 and 1; resampled or mixed ones may lie a little beyond


class Audio:
    """A recording of one sentence: its samples, of one channel, and how many there are per second.

    Two recordings are equal if all their samples and their rates are. A report keeps the digests of the
    recordings that were measured, and not their sound.

    Args:
        samples: The samples: floats from -1 to 1, or whole numbers as a file holds them (8, 16 or 32 bits).
        rate: Samples per second, such as 16000.

    Attributes:
        rate: Samples per second.
        seconds: How long it is.
        digest: SHA-256 (hex) of its rate and samples.

    Raises:
        ArgumentTypeError: Samples that are no numbers, or a rate that is not a whole number.
        ArgumentError: No samples, several channels, samples that are NaN, infinite or far too large, or a
            rate below 1000.

    Example:
        >>> import numpy as np
        >>> tone = Audio(np.sin(np.arange(8000) / 5), rate=16000)
        >>> tone
        Audio(0.50 s at 16000 Hz)
        >>> len(tone.at(8000))
        4000
    """

    __slots__ = ("_load", "digest", "rate", "seconds")

    def __init__(self, samples: Any, rate: int) -> None:
        checked, rate = checked_samples(samples), checked_rate(rate)
        self._set(lambda: checked, rate, len(checked) / rate, digest_of(checked, rate))

    def _set(self, load: Callable[[], Samples] | None, rate: int, seconds: float, digest: str) -> None:
        self._load, self.rate, self.seconds, self.digest = load, rate, seconds, digest

    @classmethod
    def from_file(cls, path: str | Path) -> "Audio":
        """Read a WAV file of one channel: PCM of 8, 16, 24 or 32 bits, or floats.

        The samples are not kept: they are read again when they are needed, and must then be the same.

        Raises:
            PairsError: The file cannot be read, is no such WAV file, or holds no usable recording.
        """
        path = Path(path)
        samples, rate = _read_file(path)
        digest = digest_of(samples, rate)

        def load() -> Samples:
            again, rate_now = _read_file(path)
            if digest_of(again, rate_now) != digest:
                raise PairsError(f"{path} has changed since it was loaded; load the pairs again")
            return again

        audio = cls.__new__(cls)
        audio._set(load, rate, len(samples) / rate, digest)
        return audio

    @classmethod
    def remembered(cls, digest: str, rate: int, seconds: float) -> "Audio":
        """Return a recording of which only these facts are known, as in a saved report."""
        audio = cls.__new__(cls)
        audio._set(None, rate, seconds, digest)
        return audio

    @property
    def samples(self) -> Samples:
        """The samples, as floats from -1 to 1.

        Raises:
            PairsError: The recording comes out of a saved report, or its file has changed.
        """
        if self._load is None:
            raise PairsError(
                f"the sound of recording {self.digest[:12]} is not there: a saved report keeps digests of "
                "recordings alone; load the pairs from where they came"
            )
        return self._load()

    def at(self, rate: int) -> Samples:
        """Return the samples at another rate, resampled with a polyphase filter where it differs."""
        rate, samples = checked_rate(rate), self.samples
        if rate == self.rate:
            return samples
        common = gcd(rate, self.rate)
        resampled: Samples = resample_poly(samples, rate // common, self.rate // common).astype(np.float32)
        return resampled

    def __eq__(self, other: object) -> bool:
        """Check whether rate and samples are the same."""
        return isinstance(other, Audio) and self.digest == other.digest

    def __hash__(self) -> int:
        """Hash the digest."""
        return hash(self.digest)

    def __repr__(self) -> str:
        """Show length and rate, never the samples."""
        return f"Audio({self.seconds:.2f} s at {self.rate} Hz)"


def checked_samples(samples: Any) -> Samples:
    """Return the samples of one channel as floats from -1 to 1.

    Raises:
        ArgumentTypeError: They are no numbers.
        ArgumentError: No samples, several channels, or values that no recording has.
    """
    try:
        array = np.asarray(samples)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentTypeError(f"samples must be an array of numbers: {error!s:.100}") from None
    if array.ndim == 2 and 1 in array.shape:  # one channel, whichever axis it is
        array = array.reshape(-1)
    if array.ndim != 1:
        raise ArgumentError(
            f"samples of shape {array.shape} are not of one channel: choose one, like samples[:, 0], or "
            "average them, like samples.mean(axis=1)"
        )
    if not len(array):
        raise ArgumentError("samples is empty: a recording needs at least one sample")
    floats = as_floats(array)
    if floats is None:
        raise ArgumentTypeError(
            f"samples of {array.dtype} must be floats from -1 to 1, or whole numbers of 8, 16 or 32 bits"
        )
    if not np.isfinite(floats).all():
        where = int(np.flatnonzero(~np.isfinite(floats))[0])
        raise ArgumentError(f"samples[{where}] is {floats[where]}; every sample must be a finite number")
    if np.abs(floats).max() > _LOUDEST:
        raise ArgumentError(
            f"samples reach {np.abs(floats).max():.6g}, and floats must lie from -1 to 1; divide those of a "
            "16-bit file by 32768"
        )
    floats.setflags(write=False)
    return floats


def checked_rate(rate: object) -> int:
    """Return a number of samples per second.

    Raises:
        ArgumentTypeError: It is not a whole number.
        ArgumentError: It is below 1000, like a rate in kHz.
    """
    found = whole_number("rate", rate, least=1)
    if found < _LOWEST_RATE:
        raise ArgumentError(f"rate={found} must be samples per second, such as 16000")
    return found


def digest_of(samples: Samples, rate: int) -> str:
    """Return SHA-256 (hex) of a rate and of samples."""
    return hashlib.sha256(f"{rate} ".encode() + samples.astype("<f4").tobytes()).hexdigest()


def _read_file(path: Path) -> tuple[Samples, int]:
    samples, rate = read_wav(path, str(path))
    try:
        return checked_samples(samples), checked_rate(rate)
    except (ArgumentError, ArgumentTypeError) as error:
        raise PairsError(f"{path}: {error}") from None
