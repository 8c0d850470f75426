"""What an objective is given: options at once or one by one, and pairs as such or by their path."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from xalign.checks import known_options
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.pairs.load import load_pairs
from xalign.pairs.parallel import ParallelPairs
from xalign.training.config import AlignmentConfig

Pairs = ParallelPairs | str | Path


def config_of(config: AlignmentConfig | None, options: dict[str, Any]) -> AlignmentConfig:
    """Return the options, which are given at once or one by one.

    Raises:
        ArgumentError: Both are given, or a value is not allowed.
        ArgumentTypeError: An unknown option, or something other than a config.
    """
    if config is not None and options:
        raise ArgumentError(f"give config= or its fields ({', '.join(options)}), not both")
    if not isinstance(config, AlignmentConfig | None):
        raise ArgumentTypeError(f"config must be an AlignmentConfig, not {type(config).__name__}")
    known_options("AlignmentObjective", options, [one.name for one in fields(AlignmentConfig)])
    return AlignmentConfig(**options) if config is None else config


def training_pairs(pairs: Pairs | None, config: AlignmentConfig) -> ParallelPairs:
    """Return the pairs to train on, given as an argument or in the config, in the languages asked for.

    Raises:
        ArgumentError: No pairs, two different sets of them, or a pivot other than the config's.
        PairsError: A path that holds no pairs.
    """
    if pairs is not None and config.pairs is not None and pairs is not config.pairs:
        raise ArgumentError("pairs= and config.pairs are both given and differ; give one of them")
    pairs = config.pairs if pairs is None else pairs
    if pairs is None:
        raise ArgumentError("no pairs to train on: give pairs=, a path or ParallelPairs")
    if isinstance(pairs, ParallelPairs) and config.pivot not in (AlignmentConfig.pivot, pairs.pivot):
        raise ArgumentError(f"pivot={config.pivot!r}, and the pairs given have the pivot {pairs.pivot}")
    loaded = loaded_pairs(pairs, config)
    return loaded if config.languages is None else loaded.only(config.languages)


def loaded_pairs(pairs: Pairs, config: AlignmentConfig) -> ParallelPairs:
    """Return pairs as they are, or those of a path, with the config's pivot."""
    return pairs if isinstance(pairs, ParallelPairs) else load_pairs(pairs, pivot=config.pivot)
