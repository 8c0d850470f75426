"""LayerDrop: some models leave out whole blocks at random while they train."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

_NAME = "layerdrop"


@contextmanager
def without_layer_drop(model: nn.Module) -> Iterator[None]:
    """Let every block run inside the `with`; afterwards the model drops as often as before.

    M2M100, Whisper, wav2vec2 and their relatives leave each block out with a probability, in training. A
    block that does not run has no states to read. Transformers keeps the probability on the module or in its
    config, under a name that ends in `layerdrop`.

    Args:
        model: The model.

    Example:
        >>> with without_layer_drop(model):
        ...     output = model(**batch)
    """
    changed: list[tuple[Any, str, Any]] = []
    try:
        for holder in _holders(model):
            for name, value in list(vars(holder).items()):
                if name.endswith(_NAME) and isinstance(value, int | float) and value > 0:
                    changed.append((holder, name, value))
                    setattr(holder, name, 0.0)
        yield
    finally:
        for holder, name, value in changed:
            setattr(holder, name, value)


def _holders(model: nn.Module) -> list[Any]:
    """Return the modules that keep a probability of their own, and every config of a module."""
    modules = list(model.modules())
    configs = {id(config): config for module in modules if (config := vars(module).get("config")) is not None}
    return [module for module in modules if _NAME in vars(module)] + list(configs.values())
