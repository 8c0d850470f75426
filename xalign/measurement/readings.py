"""Where each source of a metric is read in a model."""

from collections.abc import Callable, Mapping

from xalign.measurement.options import ReadOptions
from xalign.metrics.metric import Source
from xalign.model.architectures.map import ModelMap
from xalign.model.architectures.sites import Reading


def _neuron_states(model_map: ModelMap, options: ReadOptions) -> list[Reading]:
    """Read whether each neuron is active, in every block (NeuronXA)."""
    return [Reading(site, "active", options.pool) for site in model_map.sites(options.state_site)]


def _neuron_values(model_map: ModelMap, options: ReadOptions) -> list[Reading]:
    """Read the absolute value of each neuron, in every block (NeuronXA)."""
    return [Reading(site, "abs", options.pool) for site in model_map.sites(options.value_site)]


def _hidden(model_map: ModelMap, options: ReadOptions) -> list[Reading]:
    """Read the hidden states that Hugging Face returns (MEXA).

    These are the embedding, all blocks but the last, and `final`, which stands for the last.
    """
    embed, *blocks, final = model_map.sites("hidden")
    sites = [*blocks[:-1], final]
    if options.include_embedding:
        sites.insert(0, embed)
    return [Reading(site, "value", options.pool) for site in sites]


_SOURCES: Mapping[Source, Callable[[ModelMap, ReadOptions], list[Reading]]] = {
    "neuron_states": _neuron_states,
    "neuron_values": _neuron_values,
    "hidden": _hidden,
}


def readings_of(model_map: ModelMap, source: Source, options: ReadOptions | None = None) -> list[Reading]:
    """Return the readings of a source, from the lowest layer.

    Args:
        model_map: Where the sites are.
        source: What a metric reads.
        options: How it is read; the defaults of `ReadOptions` where None.
    """
    return _SOURCES[source](model_map, options or ReadOptions())
