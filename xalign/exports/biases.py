"""`bias_switch`: the setting of a config that gives an architecture the biases that an edit needs."""

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import nn

from xalign.errors import ModelError
from xalign.model.architectures.kinds_of_module import is_linear


@dataclass(frozen=True, slots=True)
class BiasSwitch:
    """Settings that give some projections a bias.

    Attributes:
        names: The settings of the config, all False in the model as it is.
        modules: The paths of the projections that have a bias once they are True.
    """

    names: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()


def bias_switch(model: nn.Module, wanted: Iterable[str]) -> BiasSwitch:
    """Find the settings under which a model's class gives some projections a bias, and changes nothing else.

    Each setting is tried: the class is built with it, without values, and asked for its parameters.

    Args:
        model: The model.
        wanted: Paths of projections that need a bias.

    Raises:
        ModelError: There are none.
    """
    missing = set(wanted)
    names: list[str] = []
    config = getattr(model, "config", None)
    for name, value in list(vars(config).items()) if missing else []:
        if "bias" in name and value is False and missing:
            added = _added(model, [*names, name])
            if added is not None and missing & added:
                names.append(name)
                missing -= added
    if missing:
        raise ModelError(
            f"{sorted(missing)[0]} has no bias, and {type(model).__name__} has no setting that gives it one, "
            "so that a constant (set, add) has no place in its weights. Export as 'peft', whose LoRA brings "
            "a bias, or scale or zero the units instead"
        )
    return BiasSwitch(tuple(names), tuple(sorted(_added(model, names) or ())))


def _added(model: nn.Module, names: list[str]) -> set[str] | None:
    """Return which projections get a bias by some settings; None where these change anything else."""
    if not names:
        return set()
    config = deepcopy(model.config)
    for name in names:
        setattr(config, name, True)
    try:
        with torch.device("meta"):
            other = type(model)(config)
    except Exception:  # of the class: it does not take this config
        return None
    ours, theirs = set(model.state_dict()), set(other.state_dict())
    paths = {key.removesuffix(".bias") for key in theirs - ours}
    are_biases = all(key.endswith(".bias") for key in theirs - ours)
    if ours - theirs or not are_biases or not all(is_linear(model.get_submodule(path)) for path in paths):
        return None
    return paths
