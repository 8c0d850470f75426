"""`CONTESTANTS`: the ways to steer that xalign has, as the bench compares them. Each has its line."""

from functools import partial
from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase

from xalign.finding.find import find_units
from xalign.finding.mean_difference import mean_difference
from xalign.judging.arms import Steering
from xalign.judging.bench.contestant import Contestant
from xalign.model.architectures.map import map_model
from xalign.model.architectures.sites import Site
from xalign.pairs.parallel import ParallelPairs

_SHARE = 0.02  # of a model's neurons, per language
_OF_MEANS = (0.5, 1.0, 1.5, 2.0, 3.0)
_OF_UNITS = (1.0, 2.0, 4.0, 8.0)


def block_at(model: nn.Module, depth: float) -> Site:
    """Return the hidden site of the block at a fraction of a model's depth."""
    layers = map_model(model).n_layers
    return Site("hidden", min(layers - 1, max(0, round(depth * layers) - 1)))


def _difference_of_means(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, pairs: ParallelPairs, depth: float
) -> Steering:
    return mean_difference(model, tokenizer, pairs.texts, block_at(model, depth), pool="mean")


def _units(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, pairs: ParallelPairs, **options: Any
) -> Steering:
    return find_units(model, tokenizer, pairs.texts, **options)


CONTESTANTS: dict[str, Contestant] = {
    one.name: one
    for one in (
        *(
            Contestant(f"mean_difference-{depth}", partial(_difference_of_means, depth=depth), _OF_MEANS)
            for depth in (0.25, 0.5, 0.75)
        ),
        Contestant("expert_ap", partial(_units, method="expert_ap", share=_SHARE), _OF_UNITS),
        Contestant("lape", partial(_units, method="lape", share=0.1), _OF_UNITS),
    )
}
