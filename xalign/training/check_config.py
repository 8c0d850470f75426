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
from xalign.training.guards.start import ORIGINS

Mode = Literal["joint", "alternate"]
MODES: tuple[Mode, ...] = get_args(Mode)
Partners = Literal["pivot", "any"]
PARTNERS: tuple[Partners, ...] = get_args(Partners)
_SWITCHES = ("centre", "gather", "mask_duplicates", "detach_pivot", "frozen_pivot", "template_pooled")


def check_config(config: Any, loss: Loss) -> None:
    """Check every option, convert numbers and text to their types, and fill in what the loss decides.

    Args:
        config: The `AlignmentConfig`, which is changed.
        loss: The loss that it names or holds.

    Raises:
        ArgumentError: A value that is not allowed; the option is named.
        ArgumentTypeError: A value of a type that is not allowed.
    """
    _check_numbers(config, loss)
    for name, allowed in (("direction", DIRECTIONS), ("mode", MODES), ("partners", PARTNERS)):
        _one_of(name, getattr(config, name), allowed)
    config.kind = given_or(config.kind, loss.kinds[0])
    _one_of("kind", config.kind, loss.kinds, f" for loss={loss.name!r}")
    _check_pool(config, loss)
    for name in _SWITCHES:
        if not isinstance(getattr(config, name), bool):
            raise ArgumentTypeError(f"{name}={getattr(config, name)!r} must be true or false")
    _refuse_without_meaning(config, loss)
    _check_control(config)
    _check_guards(config, loss)
    _check_draws(config, loss)


def _check_numbers(config: Any, loss: Loss) -> None:
    for name in ("weight", "replay_weight", "kl", "pivot_drift", "l2_sp"):
        setattr(config, name, positive(name, getattr(config, name), zero=True))
    temperature = given_or(config.temperature, None)
    config.temperature = (
        given_or(None, loss.temperature) if temperature is None else checked_temperature(temperature)
    )
    for name, least in (("batch_size", 1), ("alternate_every", 2), ("replay_batch_size", 1), ("seed", 0)):
        setattr(config, name, whole_number(name, getattr(config, name), least))
    # A sentence cut to its first token says nothing of its content.
    for name, least in (("chunk_size", 1), ("languages_per_batch", 1), ("max_length", 2), ("epochs", 0)):
        value = getattr(config, name)
        setattr(config, name, None if value is None else whole_number(name, value, least))
    if config.language_temperature is not None:
        config.language_temperature = positive("language_temperature", config.language_temperature)
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
    if config.resolved_transform is not None and loss.needs_start:
        raise ArgumentError(
            f"transform={config.resolved_transform.name!r} has no meaning for loss={loss.name!r}, which "
            "compares with states before training that no transform has changed; leave it out"
        )
    if config.links is not None and not loss.needs_links:
        raise ArgumentError(
            f"links has no meaning for loss={loss.name!r}, which compares no words; leave it out, or take "
            "loss='word_level'"
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


def _check_guards(config: Any, loss: Loss) -> None:
    if config.kl and config.replay is None:
        raise ArgumentError(
            f"kl={config.kl:g} compares what the model expects in replayed text; give replay=, a file with a "
            "document per line (replay_weight=0 leaves its own loss out)"
        )
    if config.pivot_drift and config.frozen_pivot:
        raise ArgumentError(
            f"pivot_drift={config.pivot_drift:g} has no meaning with frozen_pivot=True, where the pivot's "
            "states are those before training; leave one of them out"
        )
    if config.start is not None:
        _one_of("start", config.start, ORIGINS)
        if not (config.kl or config.pivot_drift or loss.needs_start):
            raise ArgumentError(
                f"start={config.start!r} is of kl, pivot_drift and losses that ask where the pivot was; give "
                "one of them, or leave it out"
            )


def _check_draws(config: Any, loss: Loss) -> None:
    """Refuse ways to draw pairs that exclude each other."""
    refused = {
        "epochs": {
            "control": "a controller decides how many pairs are drawn of which language",
            "gather": "the micro-batches of an epoch are not of equal size",
            "language_temperature": "each pair once gives a language the share of its size",
            "partners": "an epoch is over pairs with the pivot",
        },
        "partners": {
            "control": "a controller decides by pairs with the pivot",
            "language_temperature": "n-way text has as many pairs of every language",
            "frozen_pivot": "no language is the pivot for the whole run",
            "pivot_drift": "no language is the pivot for the whole run",
        },
    }
    for name, others in refused.items():
        for other, reason in others.items():
            if all(getattr(config, one) != getattr(type(config), one) for one in (name, other)):
                raise ArgumentError(
                    f"{name}={getattr(config, name)!r} does not go with {other}="
                    f"{getattr(config, other)!r:.40}: {reason}; leave one of them out"
                )
    if config.partners != type(config).partners and (loss.needs_links or loss.needs_start):
        raise ArgumentError(
            f"partners={config.partners!r} has no meaning for loss={loss.name!r}, which has links or states "
            "of the pivot alone; leave it out"
        )
    if loss.needs_links and config.eval_pairs is not None:
        raise ArgumentError(f"eval_pairs have no links, which loss={loss.name!r} needs; leave them out")


def _check_pool(config: Any, loss: Loss) -> None:
    if loss.level != "pair":
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
