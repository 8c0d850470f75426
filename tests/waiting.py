"""What xalign's hooks run inside a forward, watched: whether any of it would wait for a device."""

from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from xalign.model.hook_session import HookSession
from xalign.model.hooks import Hook

# Operations that a program waits for on a device: they read a value, or their result's size is one.
WAITING = {
    "aten._local_scalar_dense",
    "aten.is_nonzero",
    "aten.equal",
    "aten.nonzero",
    "aten.masked_select",
    "aten._unique2",
    "aten.unique_dim",
    "aten.repeat_interleave",
    "aten.bincount",
}


class NotesWaiting(TorchDispatchMode):
    """Notes the operations that would wait for a device."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self._found = found

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = str(func.overloadpacket)
        # A tensor that is indexed by a mask has as many rows as the mask is True at.
        by_mask = name.startswith("aten.index") and any(
            isinstance(one, torch.Tensor) and one.dtype == torch.bool
            for group in args
            if isinstance(group, list | tuple)
            for one in group
        )
        if name in WAITING or by_mask:
            self._found.append(name)
        return func(*args, **(kwargs or {}))


@contextmanager
def around_hooks(monkeypatch, enter):
    """Run xalign's hooks, and what they give a site's values to, within the context that `enter` returns.

    Mixtures of experts show their values to a session without a hook of their own. Yields the list of the
    sites that were seen.
    """
    seen, call, give = [], Hook.__call__, HookSession._give

    def watched_call(self, module, *given):
        with enter():
            return call(self, module, *given)

    def watched_give(self, site, *values):
        seen.append(site)
        with enter():
            return give(self, site, *values)

    with monkeypatch.context() as patch:
        patch.setattr(Hook, "__call__", watched_call)
        patch.setattr(HookSession, "_give", watched_give)
        yield seen
