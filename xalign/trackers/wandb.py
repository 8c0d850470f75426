"""Weights & Biases."""

import os
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from inspect import signature
from types import ModuleType

from transformers.trainer_callback import TrainerCallback

from xalign.extras import install_command
from xalign.trackers.tracker import (
    Tracker,
    log_config_with_module,
    log_image_with_module,
    log_table_with_module,
)

NAME = "wandb"


def go_offline_without_login(report_to: Sequence[str]) -> str | None:
    """Keep the W&B run on this machine if nobody has logged in.

    Without a login, W&B asks for one, or ends a run that has no terminal.

    Args:
        report_to: The trainer's `report_to`.

    Returns:
        The sentence that says so; None if nothing was changed.
    """
    if NAME not in report_to or find_spec("wandb") is None or os.environ.get("WANDB_MODE"):
        return None
    import wandb

    if wandb.run is not None or wandb.setup().settings.mode != "online" or _has_login():
        return None
    # WANDB_MODE would come too late: W&B has read its environment already.
    wandb.setup(wandb.Settings(mode="offline"))
    return (
        "xalign: W&B has no login here, so its run is kept in ./wandb; `wandb sync` uploads it. Without an "
        f"account, report_to='trackio' shows runs in the browser: {install_command('trackio')}"
    )


def _has_login() -> bool:
    """Whether W&B has a key or token for its host. Looks where W&B itself looks, and asks nobody."""
    import wandb

    try:
        from wandb.sdk.lib import wbauth
    except ImportError:  # an older release
        return import_module("wandb.sdk.lib.apikey").api_key() is not None
    host = wandb.setup().settings.base_url
    if "prompt" not in signature(wbauth.authenticate_session).parameters:  # an older release, which would ask
        named = any(os.environ.get(name) for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"))
        return bool(named or wbauth.session_credentials(host=host) or wbauth.read_netrc_auth(host=host))
    try:
        found = wbauth.authenticate_session(host=host, source="xalign", prompt=False, update_session=False)
    except wandb.Error:  # a wrong key is a login too: W&B says what is wrong with it
        return True
    return found is not None


def _run(callback: TrainerCallback | None) -> ModuleType | None:  # noqa: ARG001
    """Return W&B's module, which logs to its current run."""
    import wandb

    return None if wandb.run is None else wandb


WANDB = Tracker(
    NAME,
    "WandbCallback",
    run=_run,
    log_image=log_image_with_module,
    log_table=log_table_with_module,
    log_config=log_config_with_module,
    prepare=go_offline_without_login,
)
