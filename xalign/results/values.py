"""The parts of an alignment report."""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Shaped
from torch import Tensor

from xalign.metrics.metric import Scale
from xalign.model.architectures.sites import Layer, Site


@dataclass(frozen=True)
class MetricResult:
    """One row of metrics: its values at every site, and what they mean.

    Attributes:
        metric: The metric it was asked for as; several rows may be parts of one, as both directions of
            retrieval are.
        scale: What its numbers mean.
        sites: The places measured, from the lowest of each stack.
        readings: What was read at each of them, as text.
        values: Language -> bits, or real values, of every pair at every site.
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
        """A short name of each site: its layer, with the stack in front where the model has two."""
        return tuple(layer_name(site) for site in self.sites)


def layer_name(site: Site) -> Layer | str:
    """The layer of a site, or `"decoder.3"` where its model has two stacks.

    Example:
        >>> layer_name(Site("gate", 3)), layer_name(Site("hidden", "embed", "decoder"))
        (3, 'decoder.embed')
    """
    layer: Layer | str = str(site) if site.layer is None else site.layer
    return f"{site.stack}.{layer}" if site.stack else layer


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
