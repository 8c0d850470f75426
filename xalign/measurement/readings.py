"""Where each source of a metric is read in a model."""

from collections.abc import Callable, Mapping

from xalign.errors import ModelError
from xalign.measurement.options import Experts, NeuronSite, ReadOptions
from xalign.metrics.metric import Source
from xalign.model.architectures.map import ModelMap
from xalign.model.architectures.sites import Kind, Reading, Site


def _neuron_states(model_map: ModelMap, options: ReadOptions) -> list[Reading]:
    """Read whether each neuron is active, in every block (NeuronXA)."""
    sites = neuron_sites(model_map, options.state_site, options.experts)
    return [Reading(site, "active", options.pool) for site in sites]


def _neuron_values(model_map: ModelMap, options: ReadOptions) -> list[Reading]:
    """Read the absolute value of each neuron, in every block (NeuronXA)."""
    sites = neuron_sites(model_map, options.value_site, options.experts)
    return [Reading(site, "abs", options.pool) for site in sites]


def neuron_sites(model_map: ModelMap, kind: NeuronSite, experts: Experts) -> list[Site]:
    """Return the sites of the neurons of every block: in a mixture, of its experts or of its shared networks.

    Args:
        model_map: Where the sites are.
        kind: `gate` or `inner`.
        experts: What is taken of a mixture.

    Raises:
        ModelError: A mixture whose experts cannot be read, or one without shared networks where these are
            asked for.
    """
    mixtures = model_map.mixtures()
    if not mixtures:
        return model_map.sites(kind)
    own: Kind = "expert_gate" if kind == "gate" else "expert_inner"
    found = [] if model_map.refused(kind) else model_map.sites(kind)
    if experts == "routed":
        for layer, reason in mixtures.items():
            if reason:
                raise ModelError(
                    f"the experts of block {layer} of {model_map.model_type} cannot be read: {reason}. "
                    "experts='shared' takes the networks that every token runs through, where there are "
                    "some; metrics=['mexa', 'retrieval'] takes hidden states"
                )
        found = [site for site in found if site.layer not in mixtures] + model_map.sites(own)
        return sorted(found, key=lambda site: (site.layer, site.part))
    missing = mixtures.keys() - {site.layer for site in found}
    if missing:
        raise ModelError(
            f"experts='shared': block {min(missing)} of {model_map.model_type} is a mixture of experts "
            "without a shared network; leave experts='routed'"
        )
    return found


def _routing(model_map: ModelMap, options: ReadOptions) -> list[Reading]:
    """Read how often each expert of a mixture was chosen."""
    return [Reading(site, "active", options.pool) for site in model_map.sites("router")]


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
    "routing": _routing,
}


def readings_of(model_map: ModelMap, source: Source, options: ReadOptions | None = None) -> list[Reading]:
    """Return the readings of a source, from the lowest layer.

    Args:
        model_map: Where the sites are.
        source: What a metric reads.
        options: How it is read; the defaults of `ReadOptions` where None.
    """
    return _SOURCES[source](model_map, options or ReadOptions())
