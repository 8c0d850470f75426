"""`AudioInputs`: what a speech model takes as input, worked out from the model and its feature extractor."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from inspect import signature
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from transformers import FeatureExtractionMixin, PreTrainedTokenizerBase

from xalign.errors import ArgumentError, ArgumentTypeError, ModelError
from xalign.model.batch_cost import with_batch_cost
from xalign.model.batches import Batch, group_lines
from xalign.model.frames import frames_of
from xalign.model.inputs import TextOptions
from xalign.model.padding import padding_changes_states
from xalign.model.wrapped import base_model_of

SOUND = ("input_features", "input_values")
"""The names under which speech models take sound."""
_TEXT_ONLY = ("template", "template_pooled", "pool_special_tokens", "max_length", "source_codes")


class Recording(Protocol):
    """What is asked of a recording; `xalign.Audio` is one."""

    @property
    def digest(self) -> str:
        """What tells it apart from others."""

    @property
    def seconds(self) -> float:
        """Its length."""

    def at(self, rate: int) -> Any:
        """Return the samples at a rate."""


@dataclass(frozen=True, slots=True)
class AudioLine:
    """A recording as a model takes it.

    Attributes:
        audio: The recording.
        given: How many values of it the model is given, along time, the extractor's own padding included.
        real: How many of these are not padding.
        samples: The most samples that are taken of it; None for all.
    """

    audio: Recording
    given: int
    real: int
    samples: int | None = None


@dataclass(frozen=True, slots=True)
class EncodedAudio:
    """Recordings as a model takes them.

    Attributes:
        lines: One per recording.
        own_tokens: Per recording, how many states the model gives of it, without padding.
    """

    lines: list[AudioLine]
    own_tokens: tuple[int, ...]

    def __len__(self) -> int:
        """Return the number of recordings."""
        return len(self.lines)

    @property
    def ids(self) -> tuple[str, ...]:
        """What tells the recordings apart: their digests."""
        return tuple(line.audio.digest for line in self.lines)

    @property
    def pooled_tokens(self) -> list[int]:
        """Per recording, how many states are pooled: all that are no padding."""
        return list(self.own_tokens)

    @property
    def unknown_tokens(self) -> tuple[int, ...]:
        """Per recording 0: a feature extractor knows every sound."""
        return (0,) * len(self)


class AudioInputs:
    """What a speech model takes as input, and how recordings become batches of it.

    The features are computed when a batch runs, and not kept: they are as large as the sound.

    Args:
        model: The model, or its encoder alone.
        processor: Its feature extractor, or a processor that holds it.

    Attributes:
        extractor: The feature extractor.
        tokenizer: What was given as `processor`, under the name that `Inputs` has for it.
        rate: The samples per second that it takes; recordings at other rates are resampled.
        context: The most samples of one recording; None where there is no limit.

    Raises:
        ArgumentTypeError: `processor` holds no feature extractor.
        ArgumentError: A feature extractor that does not belong to the model.
        ModelError: A model that takes no sound, or takes it within text.
    """

    def __init__(self, model: nn.Module, processor: Any) -> None:
        base = base_model_of(model)
        takes = _names(base)
        if "input_ids" in takes or not any(name in takes for name in SOUND):
            raise ModelError(
                f"these pairs are recordings, and {type(base).__name__} "
                + (
                    "reads text: give pairs of text, or pass the part of it that reads sound alone, such as "
                    "model.speech_encoder"
                    if "input_ids" in takes
                    else "takes no sound"
                )
            )
        self.extractor = extractor_of(processor)
        self.tokenizer, self._model = processor, model
        name = next((name for name in self.extractor.model_input_names if name in SOUND), "nothing")
        if name not in takes:
            raise ArgumentError(
                f"{type(self.extractor).__name__} gives {name}, and {type(base).__name__} takes "
                f"{next(name for name in SOUND if name in takes)}: pass the feature extractor that belongs "
                "to the model"
            )
        if self.extractor.padding_side != "right":
            raise ArgumentError(
                f"padding_side={self.extractor.padding_side!r} of the feature extractor must be 'right'"
            )
        _check_bins(base, self.extractor)
        self._name, self._takes = name, takes
        self.rate = int(self.extractor.sampling_rate)
        self.context: int | None = getattr(self.extractor, "n_samples", None)
        self._frames = frames_of(base)
        # Whisper takes 30 seconds, always; other extractors pad to the longest, once they are told to.
        asked = signature(type(self.extractor).__call__).parameters["padding"].default
        self._is_fixed = asked == "max_length"
        self._padding = asked or True

    def encode(
        self,
        recordings: Sequence[Recording],
        language: str = "",
        options: TextOptions | None = None,
        ids: Sequence[str] | None = None,
    ) -> EncodedAudio:
        """Find out how many frames each recording has.

        Args:
            recordings: The recordings.
            language: Their language, for error messages.
            options: Of these, `truncate` cuts recordings that are longer than the context; those that speak
                of tokens are refused.
            ids: Names of the recordings for error messages; row numbers where None.

        Raises:
            ArgumentError: An option for text, a recording longer than the context, or one too short for a
                single frame.
        """
        options = options or TextOptions()
        defaults = TextOptions()
        for name in _TEXT_ONLY:
            if getattr(options, name) != getattr(defaults, name):
                raise ArgumentError(f"{name} is for text, and these sentences are recordings; leave it out")
        names = [str(row) for row in range(len(recordings))] if ids is None else ids
        where = f" in {language}" if language else ""
        cut = self.context if options.truncate else None
        lines = []
        for name, audio in zip(names, recordings, strict=True):
            if cut is None:
                self._check_length(audio, f"recording {name}{where}")
            lines.append(self._line(audio, cut, f"recording {name}{where}"))
        return EncodedAudio(lines, tuple(self._frames(line.real) for line in lines))

    def batches(self, lines: Iterable[AudioLine], **limits: int | None) -> list[Batch]:
        """Group recordings into batches, as `Inputs` does lines; a token is a frame of the encoder.

        Where padding changes what a model makes of a recording, each is a batch of its own.
        """
        lines = list(lines)
        if len({line.given for line in lines}) > 1 and self._runs_singly:
            limits["size"] = 1
        limits = with_batch_cost(self._model, limits)
        groups = group_lines(lines, lambda line: self._frames(line.given), **limits)
        return [self._batch(taken, rows) for taken, rows in groups]

    def _batch(self, lines: Sequence[AudioLine], rows: tuple[tuple[int, ...], ...]) -> Batch:
        positions = torch.arange(self._frames(max(line.given for line in lines)))
        real = positions < torch.tensor([self._frames(line.real) for line in lines]).unsqueeze(1)
        return Batch(Features(self, lines), real, rows, real)

    @cached_property
    def _runs_singly(self) -> bool:
        if self._is_fixed:
            return False
        noise = np.random.default_rng(0)
        lines = [
            self._line(_Noise(noise.standard_normal(int(self.rate * seconds)), seconds), None, "noise")
            for seconds in (1.0, 0.6)
        ]
        together = self._batch(lines, ((0,), (1,)))
        alone = [self._batch([line], ((row,),)) for row, line in enumerate(lines)]
        return padding_changes_states(self._model, together, alone)

    def features(self, lines: Sequence[AudioLine]) -> dict[str, Tensor]:
        """Return what the model's forward takes for some recordings, padded to the longest of them."""
        made = self._extract([line.audio.at(self.rate)[: line.samples] for line in lines])
        kept = {name: values for name, values in made.items() if name in self._takes}
        dtype = _dtype_of(self._model)
        return {
            name: values.to(dtype) if values.is_floating_point() else values for name, values in kept.items()
        }

    @property
    def names(self) -> list[str]:
        """The names of what `features` gives."""
        return [name for name in self.extractor.model_input_names if name in self._takes]

    def _line(self, audio: Recording, cut: int | None, name: str) -> AudioLine:
        """Return a recording with its lengths, which the extractor's mask tells."""
        samples = audio.at(self.rate)[:cut]
        try:
            made = self._extract([samples])
            mask = _mask_in(made)
            given, real = mask.shape[-1], int(mask.sum())
            frames = self._frames(real) if real else 0
        except (ValueError, RuntimeError, IndexError) as error:
            raise ArgumentError(
                f"{name} ({audio.seconds:.3f} s) gives {type(self.extractor).__name__} nothing to read: "
                f"{error!s:.100}"
            ) from error
        if frames < 1:
            raise ArgumentError(
                f"{name} ({audio.seconds:.3f} s) is too short for a single frame of this model; leave it out "
                "in every language"
            )
        return AudioLine(audio, given, real, cut)

    def _extract(self, samples: list[Any]) -> Mapping[str, Tensor]:
        made: Mapping[str, Tensor] = self.extractor(
            samples,
            sampling_rate=self.rate,
            padding=self._padding,
            return_attention_mask=True,
            return_tensors="pt",
        )
        return made

    def _check_length(self, audio: Recording, name: str) -> None:
        if self.context is not None and audio.seconds * self.rate > self.context + 1:
            raise ArgumentError(
                f"{name} is {audio.seconds:.1f} s long, and the model takes {self.context / self.rate:g} s; "
                "cut it with truncate=True, or leave it out in every language"
            )


class Features(Mapping[str, Tensor]):
    """What the model's forward takes for some recordings, computed each time it is asked for."""

    def __init__(self, inputs: AudioInputs, lines: Sequence[AudioLine]) -> None:
        self._make, self._names = partial(inputs.features, lines), inputs.names

    def __getitem__(self, name: str) -> Tensor:
        """Return one of them."""
        if name not in self._names:
            raise KeyError(name)
        return self._make()[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over their names."""
        return iter(self._names)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._names)

    def items(self) -> Any:
        """Return all of them, computed once."""
        return self._make().items()


@dataclass(frozen=True, eq=False)
class _Noise:
    values: Any
    seconds: float
    digest: str = "noise"

    def at(self, rate: int) -> Any:  # noqa: ARG002
        return self.values.astype(np.float32)


def extractor_of(processor: Any) -> Any:
    """Return a feature extractor, or the one that a processor holds.

    Raises:
        ArgumentTypeError: There is none.
    """
    found = getattr(processor, "feature_extractor", processor)
    if isinstance(found, FeatureExtractionMixin) and hasattr(found, "sampling_rate"):
        return found
    what = "a tokenizer" if isinstance(processor, PreTrainedTokenizerBase) else type(processor).__name__
    raise ArgumentTypeError(
        f"recordings need the model's feature extractor, and {what} was given: pass "
        "AutoFeatureExtractor.from_pretrained(...), or its processor"
    )


def takes_sound_alone(model: nn.Module) -> bool:
    """Return whether a model takes sound, and no text."""
    takes = _names(base_model_of(model))
    return "input_ids" not in takes and any(name in takes for name in SOUND)


def _names(base: nn.Module) -> frozenset[str]:
    # Of the class: trainers replace the instance's forward by functions without a signature.
    return frozenset(signature(type(base).forward).parameters)


def _check_bins(base: nn.Module, extractor: Any) -> None:
    bins = getattr(getattr(base, "config", None), "num_mel_bins", None)
    if isinstance(bins, int) and extractor.feature_size not in (1, bins):
        raise ArgumentError(
            f"{type(extractor).__name__} gives {extractor.feature_size} mel bins, and the model takes "
            f"{bins}: pass the feature extractor that belongs to the model"
        )


def _mask_in(made: Mapping[str, Tensor]) -> Tensor:
    name = next((name for name in made if name.endswith("mask")), None)
    if name is None:
        raise ModelError("the feature extractor gives no mask, so which frames are padding is not known")
    return made[name]


def _dtype_of(model: nn.Module) -> torch.dtype:
    """Return the data type in which a model takes numbers; quantized weights take those of its norms."""
    dtypes = (one.dtype for one in model.parameters() if one.is_floating_point() and one.dtype.itemsize > 1)
    return next(dtypes, torch.float32)
