"""Whether somebody has logged in to W&B, as its releases keep it."""

import sys
from types import ModuleType

import pytest
import wandb.sdk.lib

from xalign.trackers.wandb import _has_login


@pytest.mark.parametrize("key", [None, "0123456789abcdef"])
def test_an_older_release_is_asked_for_its_key(key, monkeypatch):
    """The module that newer ones ask is not in W&B 0.22, and the error ended the run."""
    older = ModuleType("wandb.sdk.lib.apikey")
    older.api_key = lambda: key
    monkeypatch.delattr(wandb.sdk.lib, "wbauth", raising=False)
    monkeypatch.setitem(sys.modules, "wandb.sdk.lib.wbauth", None)
    monkeypatch.setitem(sys.modules, "wandb.sdk.lib.apikey", older)
    assert _has_login() is (key is not None)
