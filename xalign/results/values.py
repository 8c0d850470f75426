"""The parts of an alignment report."""

from dataclasses import dataclass

from jaxtyping import Shaped
from torch import Tensor

from xalign.model.sites import Layer

RETRIEVAL = ("retrieval_from_pivot", "retrieval_to_pivot")


@dataclass(frozen=True)
class MetricResult:
    """One metric's values.

    Attributes:
        layers: The layers measured, from the lowest.
        readings: What was read at each of them.
        values: Language -> bits, or real values for the margin.
        floors: Language -> the same metric of the lexical similarity.
    """

    layers: tuple[Layer, ...]
    readings: tuple[str, ...]
    values: dict[str, Shaped[Tensor, "layer pair"]]
    floors: dict[str, Shaped[Tensor, " pair"]]


@dataclass(frozen=True)
class LanguageStats:
    """What the tokenizer makes of a language.

    Attributes:
        tokens_per_sentence: Mean number of a sentence's own tokens, without special tokens and template.
        unknown_share: Share of those that are the unknown token, in [0, 1].
    """

    tokens_per_sentence: float
    unknown_share: float


@dataclass(frozen=True)
class Cost:
    """What a measurement cost.

    Attributes:
        seconds: Wall-clock time.
        cpu_seconds: CPU time of the process.
        peak_bytes: The most that pooled states took at one time.
        tokens: Tokens run through the model, padding included.
        forwards: Forwards of the model.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    tokens: int
    forwards: int
