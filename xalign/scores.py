"""What each metric reads in a model, and which function of the similarity matrix scores it."""

from collections.abc import Callable, Sequence
from typing import Literal

from torch import Tensor

from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.metrics.margin import margin
from xalign.metrics.retrieval import retrieval_from_pivot, retrieval_to_pivot
from xalign.metrics.weak_alignment import weak_alignment
from xalign.model.map import ModelMap
from xalign.model.sites import Pool, Reading, Site

Source = Literal["neuron_states", "neuron_values", "hidden"]
NeuronSite = Literal["gate", "inner"]
Kernel = Callable[[Tensor], Tensor]

# Metric -> where it reads, and per row of the report the function of the similarity matrix.
METRICS: dict[str, tuple[Source, dict[str, Kernel]]] = {
    "nasca": ("neuron_states", {"nasca": weak_alignment}),
    "navca": ("neuron_values", {"navca": weak_alignment}),
    "mexa": ("hidden", {"mexa": weak_alignment}),
    "retrieval": (
        "hidden",
        {"retrieval_from_pivot": retrieval_from_pivot, "retrieval_to_pivot": retrieval_to_pivot},
    ),
    "margin": ("hidden", {"margin": margin}),
}
DEFAULT_METRICS = ("nasca", "navca", "mexa", "retrieval")


def checked_metrics(metrics: Sequence[str]) -> tuple[str, ...]:
    """Names of known metrics, or an error that lists them."""
    known = ", ".join(METRICS)
    if isinstance(metrics, str) or not isinstance(metrics, Sequence):
        raise ArgumentTypeError(f"metrics must be a list of names, like ['nasca'], not {metrics!r}")
    if not metrics:
        raise ArgumentError(f"metrics is empty; choose from {known}")
    unknown = [metric for metric in metrics if not isinstance(metric, str) or metric not in METRICS]
    if unknown:
        raise ArgumentError(f"metrics={unknown!r} unknown; choose from {known}")
    if len(set(metrics)) != len(metrics):
        raise ArgumentError(f"metrics={list(metrics)!r} names a metric twice")
    return tuple(metrics)


def readings_of(
    model_map: ModelMap, *, pool: Pool, nas: NeuronSite, nav: NeuronSite, include_embedding: bool
) -> dict[Source, list[Reading]]:
    """The readings of each source, from the lowest layer.

    Neuron states and values are read in every block (NeuronXA). Hidden states are those that Hugging Face
    returns (MEXA): the embedding, all blocks but the last, and `final`, which stands for the last.
    """
    for name, site in (("nas", nas), ("nav", nav)):
        if site not in ("gate", "inner"):
            raise ArgumentError(f"{name}={site!r} must be 'gate' or 'inner'")
    left_out = {Site("hidden", model_map.n_layers - 1)}
    if not include_embedding:
        left_out.add(Site("hidden", "embed"))
    return {
        "neuron_states": [Reading(site, "active", pool) for site in model_map.sites(nas)],
        "neuron_values": [Reading(site, "abs", pool) for site in model_map.sites(nav)],
        "hidden": [
            Reading(site, "value", pool) for site in model_map.sites("hidden") if site not in left_out
        ],
    }
