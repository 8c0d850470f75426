"""`record_edited`: let `output_hidden_states` show the values that the model runs on."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

_RECORDER = "transformers.utils.output_capturing"


@contextmanager
def record_edited(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Let the hooks with which transformers records outputs run after all others, inside the `with`.

    transformers registers them when states are first asked for, and they stay. Hooks run in the order in
    which they were registered, so that a hook of an earlier forward would record values from before an edit.

    Args:
        modules: Modules whose outputs are edited.
    """
    moved: list[tuple[Any, list[int]]] = []
    try:
        try:
            for module in modules:
                hooks: Any = module._forward_hooks
                moved.append((hooks, list(hooks)))
                for key in [key for key, hook in hooks.items() if _is_recorder(hook)]:
                    hooks.move_to_end(key)
            yield
        finally:
            _restore(moved)
    finally:
        _restore(moved)  # again, for a KeyboardInterrupt inside the first


def _restore(moved: list[tuple[Any, list[int]]]) -> None:
    for hooks, order in moved:
        for key in [*order, *(key for key in hooks if key not in order)]:
            if key in hooks:
                hooks.move_to_end(key)


def _is_recorder(hook: object) -> bool:
    return getattr(hook, "__module__", None) == _RECORDER
