"""What the options of an `AlignmentConfig` may be, alone and beside each other."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal, get_args

from xalign.checks import positive, whole_number
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.losses import LOSSES
from xalign.losses.contrastive import DIRECTIONS
from xalign.losses.direction import checked_temperature
from xalign.losses.loss import Loss
from xalign.model.architectures.sites import POOLS
from xalign.training.filled import given_or

Mode = Literal["joint", "alternate"]
MODES: tuple[Mode, ...] = get_args(Mode)
_SWITCHES = ("centre", "gather", "mask_duplicates", "detach_pivot", "frozen_pivot", "template_pooled")


def check_config(config: Any, loss: Loss) -> None:
    """Check every option, write numbers and text as such, and fill in what the loss decides.

    Args:
        config: The `AlignmentConfig`, which is changed.
        loss: The loss that it names or holds.

    Raises:
        ArgumentError: A value that is not allowed; the option is named.
        ArgumentTypeError: A value of a type that is not allowed.
    """
    _check_numbers(config, loss)
    for name, allowed in (("direction", DIRECTIONS), ("mode", MODES)):
        _one_of(name, getattr(config, name), allowed)
    config.kind = given_or(config.kind, loss.kinds[0])
    _one_of("kind", config.kind, loss.kinds, f" for loss={loss.name!r}")
    _check_pool(config, loss)
    for name in _SWITCHES:
        if not isinstance(getattr(config, name), bool):
            raise ArgumentTypeError(f"{name}={getattr(config, name)!r} must be true or false")
    _refuse_without_meaning(config, loss)
    _check_control(config)


def _check_numbers(config: Any, loss: Loss) -> None:
    for name in ("weight", "replay_weight"):
        setattr(config, name, positive(name, getattr(config, name), zero=True))
    temperature = given_or(config.temperature, None)
    config.temperature = (
        given_or(None, loss.temperature) if temperature is None else checked_temperature(temperature)
    )
    for name, least in (("batch_size", 1), ("alternate_every", 2), ("replay_batch_size", 1), ("seed", 0)):
        setattr(config, name, whole_number(name, getattr(config, name), least))
    # A sentence cut to its first token says nothing of its content.
    for name, least in (("chunk_size", 1), ("languages_per_batch", 1), ("max_length", 2)):
        value = getattr(config, name)
        setattr(config, name, None if value is None else whole_number(name, value, least))
    if config.batch_size < 2 and loss.needs_negatives:
        *most, last = (f"'{name}'" for name, known in LOSSES.items() if not known.needs_negatives)
        raise ArgumentError(
            f"batch_size={config.batch_size}: {loss.name} compares each pair with the others of its batch, "
            f"so it needs at least 2; loss={', '.join(most)} or {last} works on one"
        )


def _refuse_without_meaning(config: Any, loss: Loss) -> None:
    """Refuse options that ask for something that the loss's function does not take."""
    asked = {
        "temperature": config.temperature is not None,
        "direction": config.direction != type(config).direction,
        "gather": config.gather,
    }
    if config.resolved_transform is not None and loss.needs_shares:
        raise ArgumentError(
            f"transform={config.resolved_transform.name!r} has no meaning for loss={loss.name!r}, whose "
            "states must stay in [0, 1]; leave it out, or take loss='contrastive' with kind='gate'"
        )
    for name, is_asked in asked.items():
        if is_asked and name not in loss.options:
            raise ArgumentError(
                f"{name}={getattr(config, name)!r} has no meaning for loss={loss.name!r}, whose function "
                f"takes no argument {name}; leave it out"
            )


def _check_control(config: Any) -> None:
    if isinstance(config.target, str) and not config.target.strip().startswith("+"):
        with suppress(ValueError):  # a command line gives text
            config.target = float(config.target)
    config.control_every = whole_number("control_every", config.control_every, least=1)
    if config.budget_pairs is not None:
        config.budget_pairs = whole_number("budget_pairs", config.budget_pairs, least=1)
    if config.budget_seconds is not None:
        config.budget_seconds = positive("budget_seconds", config.budget_seconds)
    if config.resolved_controller is not None:
        if config.control_pairs is None:
            raise ArgumentError(
                "control needs control_pairs: pairs to decide by, which are neither trained on nor reported"
            )
        return
    of_control = (
        "control_pairs",
        "target",
        "max_forgetting",
        "guard",
        "guard_reference",
        "budget_pairs",
        "budget_seconds",
    )
    asked = [name for name in of_control if getattr(config, name) is not None]
    if asked:
        raise ArgumentError(f"{', '.join(asked)}: of a controller; give control='loop', or leave it out")


def _check_pool(config: Any, loss: Loss) -> None:
    if loss.level == "token":
        config.pool = given_or(config.pool, None)
        if config.pool is not None:
            raise ArgumentError(
                f"pool={config.pool!r} has no meaning for loss={loss.name!r}, which reads the states of "
                "all tokens; leave it out"
            )
        return
    config.pool = given_or(config.pool, loss.pool)
    _one_of("pool", config.pool, POOLS)


def _one_of(name: str, value: object, allowed: Sequence[str], condition: str = "") -> None:
    if value not in allowed:
        raise ArgumentError(f"{name}={value!r} must be one of {', '.join(allowed)}{condition}")
