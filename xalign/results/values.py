"""The parts of an alignment report."""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Shaped
from torch import Tensor

from xalign.metrics.scale import Scale
from xalign.model.architectures.sites import Layer, Site

OWN_FUNCTIONS = "own_functions"
"""The key of provenance that holds row -> record of the function, for metrics that are not xalign's own."""


@dataclass(frozen=True)
class MetricResult:
    """The values of one row of a report at every site, with their meaning.

    Attributes:
        metric: The name of the metric. A metric of several parts has a row for each, as retrieval has one per
            direction.
        scale: The meaning of the metric's numbers.
        sites: The places measured, from the lowest layer of each stack.
        readings: What was read at each of them, as text.
        values: Language -> the bit, or the real value, of every pair at every site.
        floors: Language -> the same metric of the lexical similarity; empty where the metric has no floor.
        chance: Language -> the value expected without any information; None where it is not known.
    """

    metric: str
    scale: Scale
    sites: tuple[Site, ...]
    readings: tuple[str, ...]
    values: Mapping[str, Shaped[Tensor, "site pair"]]
    floors: Mapping[str, Shaped[Tensor, " pair"]]
    chance: Mapping[str, float | None]

    @property
    def layers(self) -> tuple[Layer | str, ...]:
        """A short name of each site: its layer, after the stack where the model has two."""
        return tuple(layer_name(site) for site in self.sites)


def layer_in_stack(site: Site) -> Layer | str:
    """Return the layer of a site within its stack; for a linear site, which has no layer, its name.

    Example:
        >>> layer_in_stack(Site("gate", 3, "decoder")), layer_in_stack(Site("linear", name="lm_head"))
        (3, 'linear:lm_head')
    """
    return str(site) if site.layer is None else site.layer


def layer_name(site: Site) -> Layer | str:
    """Return a short name of a site: its layer, or text like `"decoder.3"` where its model has two stacks.

    Example:
        >>> layer_name(Site("gate", 3)), layer_name(Site("hidden", "embed", "decoder"))
        (3, 'decoder.embed')
    """
    layer = layer_in_stack(site)
    return f"{site.stack}.{layer}" if site.stack else layer


@dataclass(frozen=True)
class LanguageStats:
    """How the tokenizer splits the sentences of a language, or how long they are when spoken.

    Attributes:
        tokens_per_sentence: Mean number of tokens of a sentence, without special tokens and template; for
            recordings, the mean number of states that the model gives, without padding.
        unknown_share: The share of those tokens that are the unknown token, in [0, 1]; 0 for recordings.
        seconds_per_sentence: Mean length of its recordings; None for text.
    """

    tokens_per_sentence: float
    unknown_share: float
    seconds_per_sentence: float | None = None


@dataclass(frozen=True)
class Cost:
    """The cost of a measurement.

    Attributes:
        seconds: Wall-clock time.
        cpu_seconds: CPU time of the process.
        peak_bytes: The most bytes that pooled states took at one time.
        tokens: Tokens run through the model, padding included.
        forwards: Forward passes of the model.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    tokens: int
    forwards: int
