"""`EAGER`: while visits are open, none of their forwards runs compiled."""

from typing import Any

import torch

from xalign.model.torch_state import put_back_stance, stance


class _Eager:
    """The stance of torch's compiler while visits are open: a compiled graph does not see their hooks."""

    def __init__(self) -> None:
        self._before: Any = None
        self._open: set[object] = set()

    def begin(self, session: object) -> None:
        """Run everything eagerly until this session and all others have ended."""
        if not self._open:
            self._before = stance()
        self._open.add(session)
        torch.compiler.set_stance("force_eager")

    def end(self, session: object) -> None:
        """End a session; the last one puts the stance back. A session may end more than once."""
        if session in self._open:
            if self._open == {session}:
                put_back_stance(self._before)
            self._open.discard(session)


EAGER = _Eager()
