"""`CONTESTANTS`: the ways to steer that xalign has, as the bench compares them. Each has its line.

What only dampens a language (`aura`), edits a fault of one model (confusion neurons, attribution) or needs
another prompt (transplants) moves no sentence into a language, and is not among them.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase

from xalign.finding.find import find_units
from xalign.finding.language_vectors import language_vectors
from xalign.finding.mean_difference import mean_difference
from xalign.judging.arms import Steering
from xalign.judging.bench.contestant import Contestant
from xalign.model.architectures.map import map_model
from xalign.model.architectures.sites import Site
from xalign.pairs.parallel import ParallelPairs
from xalign.steering.intervention import Intervention
from xalign.steering.interventions.contrastive_addition import contrastive_addition
from xalign.steering.interventions.incline import incline
from xalign.steering.interventions.language_arithmetic import language_arithmetic
from xalign.steering.interventions.pivot_shift import pivot_shift

_SHARE = 0.02  # of a model's neurons, per language
_OF_MEANS = (0.5, 1.0, 1.5, 2.0, 3.0)
_OF_UNITS = (1.0, 2.0, 4.0, 8.0)
_OF_MAPS = (0.25, 0.5, 1.0)

Make = Callable[[nn.Module, PreTrainedTokenizerBase, ParallelPairs, str], Intervention]


def block_at(model: nn.Module, depth: float) -> Site:
    """Return the hidden site of the block at a fraction of a model's depth.

    Example:
        >>> str(block_at(model, 1.0))
        '2.hidden'
    """
    layers = map_model(model).n_layers
    return Site("hidden", min(layers - 1, max(0, round(depth * layers) - 1)))


def _difference_of_means(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, pairs: ParallelPairs, depth: float
) -> Steering:
    return mean_difference(model, tokenizer, pairs.texts, block_at(model, depth), pool="mean")


def _direction(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, pairs: ParallelPairs, aggregate: str
) -> Steering:
    """Return directions as long as the differences of means, so that the same strengths can be tried."""
    site, pivot = block_at(model, 0.5), pairs.pivot
    lengths = language_vectors(model, tokenizer, pairs.texts, site, against=pivot)
    found = language_vectors(model, tokenizer, pairs.texts, site, aggregate=aggregate, against=pivot)
    return {
        code: float(lengths[code].vectors[site].norm() / vector.vectors[site].norm()) * vector
        for code, vector in found.items()
    }


def _units(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, pairs: ParallelPairs, **options: Any
) -> Steering:
    return find_units(model, tokenizer, pairs.texts, **options)


def _by_language(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, pairs: ParallelPairs, make: Make
) -> Steering:
    return {code: make(model, tokenizer, pairs, code) for code in pairs}


def _arithmetic(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, pairs: ParallelPairs
) -> dict[str, Intervention]:
    units = find_units(model, tokenizer, pairs.texts, method="lape", share=0.1)
    codes = [code for code in pairs if code in units.labels]
    off = [pairs.pivot] if pairs.pivot in units.labels else []
    return {code: language_arithmetic(model, tokenizer, units, pairs.texts, code, off) for code in codes}


def _contrast(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, pairs: ParallelPairs, code: str
) -> Intervention:
    sides = pairs[code].sentences, pairs[code].pivot_sentences
    return contrastive_addition(model, tokenizer, *sides, block_at(model, 0.5), positions="all")


def _map(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, pairs: ParallelPairs, code: str
) -> Intervention:
    return incline(model, tokenizer, pairs.texts, pairs.pivot, code, mode="interpolate", ridge=1.0)


def _shift(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, pairs: ParallelPairs, code: str
) -> Intervention:
    to = max(1, map_model(model).n_layers // 3)
    return pivot_shift(model, tokenizer, pairs.texts, pairs.pivot, code, to=to, back=None)


CONTESTANTS: dict[str, Contestant] = {
    one.name: one
    for one in (
        *(
            Contestant(f"mean_difference-{depth}", partial(_difference_of_means, depth=depth), _OF_MEANS)
            for depth in (0.25, 0.5, 0.75)
        ),
        *(
            Contestant(f"{name}-0.5", partial(_direction, aggregate=name), _OF_MEANS)
            for name in ("pca", "logistic")
        ),
        *(
            Contestant(name, partial(_units, method=name, share=_SHARE), _OF_UNITS)
            for name in ("expert_ap", "expert_auroc", "activation_probability", "l1_probe")
        ),
        Contestant("lape", partial(_units, method="lape", share=0.1), _OF_UNITS),
        Contestant("language_arithmetic", _arithmetic, _OF_MEANS, has_shuffled=False),
        Contestant("contrastive_addition-0.5", partial(_by_language, make=_contrast), _OF_MEANS),
        Contestant("pivot_shift", partial(_by_language, make=_shift), _OF_MEANS),
        Contestant("incline", partial(_by_language, make=_map), _OF_MAPS, (None, "all")),
    )
}
