"""Where each source of a metric is read in a model."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from torch import nn

from xalign.errors import ArgumentError, ModelError
from xalign.measurement.options import Experts, NeuronSite, ReadOptions
from xalign.metrics.metric import Source
from xalign.model.architectures.map import ModelMap
from xalign.model.architectures.sites import Kind, Reading, Site
from xalign.model.inputs import TextOptions
from xalign.model.run import decoder_test


def _neuron_states(model_map: ModelMap, options: ReadOptions) -> list[Reading]:
    """Read whether each neuron is active, in every block (NeuronXA)."""
    sites = neuron_sites(model_map, options.state_site, options.experts, options.stack)
    return [Reading(site, "active", options.pool) for site in sites]


def _neuron_values(model_map: ModelMap, options: ReadOptions) -> list[Reading]:
    """Read the absolute value of each neuron, in every block (NeuronXA)."""
    sites = neuron_sites(model_map, options.value_site, options.experts, options.stack)
    return [Reading(site, "abs", options.pool) for site in sites]


def _last_neurons(model_map: ModelMap, options: ReadOptions) -> list[Reading]:
    """Read the signed value of each neuron at the last token, in every block (Sharing Matters, NAO)."""
    sites = neuron_sites(model_map, options.value_site, options.experts, options.stack)
    return [Reading(site, "value", "last") for site in sites]


def neuron_sites(model_map: ModelMap, kind: NeuronSite, experts: Experts, stack: str = "") -> list[Site]:
    """Return the sites of the neurons of every block: in a mixture, of its experts or of its shared networks.

    Args:
        model_map: Where the sites are.
        kind: `gate` or `inner`.
        experts: What is taken of a mixture.
        stack: The stack; the first one where empty.

    Raises:
        ModelError: A mixture whose experts cannot be read, or one without shared networks where these are
            asked for.
    """
    mixtures = model_map.mixtures(stack)
    if not mixtures:
        return model_map.sites(kind, stack)
    own: Kind = "expert_gate" if kind == "gate" else "expert_inner"
    found = [] if model_map.refused(kind, stack) else model_map.sites(kind, stack)
    if experts == "routed":
        for layer, reason in mixtures.items():
            if reason:
                raise ModelError(
                    f"the experts of block {layer} of {model_map.model_type} cannot be read: {reason}. "
                    "experts='shared' takes the networks that every token runs through, where there are "
                    "some; metrics=['mexa', 'retrieval'] takes hidden states"
                )
        found = [site for site in found if site.layer not in mixtures] + model_map.sites(own, stack)
        return sorted(found, key=lambda site: (site.layer, site.part))
    missing = mixtures.keys() - {site.layer for site in found}
    if missing:
        raise ModelError(
            f"experts='shared': block {min(missing)} of {model_map.model_type} is a mixture of experts "
            "without a shared network; leave experts='routed'"
        )
    return found


def _router(model_map: ModelMap, options: ReadOptions) -> list[Reading]:
    """Read how often each expert of a mixture was chosen."""
    return [Reading(site, "active", options.pool) for site in model_map.sites("router", options.stack)]


def _hidden(model_map: ModelMap, options: ReadOptions) -> list[Reading]:
    """Read the hidden states that Hugging Face returns (MEXA).

    These are the embedding, all blocks but the last, and `final`, which stands for the last.
    """
    embed, *blocks, final = model_map.sites("hidden", options.stack)
    sites = [*blocks[:-1], final]
    if options.include_embedding:
        sites.insert(0, embed)
    return [Reading(site, "value", options.pool) for site in sites]


_SOURCES: Mapping[Source, Callable[[ModelMap, ReadOptions], list[Reading]]] = {
    "neuron_states": _neuron_states,
    "neuron_values": _neuron_values,
    "last_neurons": _last_neurons,
    "hidden": _hidden,
    "router": _router,
}


def readings_of(model_map: ModelMap, source: Source, options: ReadOptions | None = None) -> list[Reading]:
    """Return the readings of a source, from the lowest layer.

    Args:
        model_map: Where the sites are.
        source: What a metric reads.
        options: How it is read; the defaults of `ReadOptions` if None.
    """
    return _SOURCES[source](model_map, options or ReadOptions())


def options_of_stack(
    model: nn.Module, model_map: ModelMap, text: TextOptions, read: ReadOptions
) -> tuple[TextOptions, ReadOptions]:
    """Return options as they hold for the stack that is read.

    Naming the first stack means the same as naming none. A decoder is never given the token that ends a
    sentence, so that special tokens are not pooled there.

    Raises:
        ArgumentError: Pooled templates where a decoder is read.
        ModelError: A stack that the model does not have.
    """
    first = model_map.embed_of(read.stack).module
    if read.stack == model_map.stacks[0]:
        read = replace(read, stack="")
    if read.stack and decoder_test(model)(first):
        if text.template_pooled:
            raise ArgumentError(
                "template_pooled=True is not for stack='decoder', where only the sentence's own tokens are "
                "pooled; leave it out"
            )
        text = replace(text, pool_special_tokens=False)
    return text, read
