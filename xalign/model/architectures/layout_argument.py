"""The argument `layout=` of 0.1.0. `register_layout` replaces it; the next version removes it."""

import functools
import warnings
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from torch import nn

from xalign.model.architectures.table import Layout, register_layout

P = ParamSpec("P")
R = TypeVar("R")


def takes_layout(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function or method whose first argument is a model take `layout=`, as in 0.1.0."""

    @functools.wraps(function)
    def with_layout(*args: Any, **kwargs: Any) -> Any:
        layouts = [one for one in args if isinstance(one, Layout)]
        layout = kwargs.pop("layout", layouts[0] if layouts else None)
        if layout is not None:
            models = [one for one in (kwargs.get("model"), *args[:2]) if isinstance(one, nn.Module)]
            _register(models[0] if models else None, layout)
        return function(*(one for one in args if not isinstance(one, Layout)), **kwargs)

    return with_layout


def _register(model: nn.Module | None, layout: Any) -> None:
    from xalign.model.architectures.map import names_of

    warnings.warn(
        "layout= is deprecated and will be removed in the next version: call "
        "xalign.register_layout(model_type, layout) once instead",
        DeprecationWarning,
        stacklevel=3,
    )
    names = names_of(model, layout) if model is not None and isinstance(layout, Layout) else ["model"]
    for name in names:
        register_layout(name, layout)
