"""Where each source of a metric is read in a model."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from torch import nn

from xalign.errors import ArgumentError
from xalign.measurement.options import ReadOptions
from xalign.metrics.metric import Source
from xalign.model.architectures.map import ModelMap
from xalign.model.architectures.sites import Reading
from xalign.model.inputs import TextOptions
from xalign.model.run import is_of_decoder


def _neuron_states(model_map: ModelMap, options: ReadOptions) -> list[Reading]:
    """Read whether each neuron is active, in every block (NeuronXA)."""
    return [Reading(site, "active", options.pool) for site in model_map.sites(options.state_site, options.stack)]


def _neuron_values(model_map: ModelMap, options: ReadOptions) -> list[Reading]:
    """Read the absolute value of each neuron, in every block (NeuronXA)."""
    return [Reading(site, "abs", options.pool) for site in model_map.sites(options.value_site, options.stack)]


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
    if read.stack and is_of_decoder(model, first):
        if text.template_pooled:
            raise ArgumentError(
                "template_pooled=True is not for stack='decoder', where only the sentence's own tokens are "
                "pooled; leave it out"
            )
        text = replace(text, pool_special_tokens=False)
    return text, read
