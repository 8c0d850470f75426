"""The argument `layout=` of 0.1.0. It still works, and `register_layout` replaces it in the next version."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from torch import nn

from xalign.errors import ModelError
from xalign.model.architectures.table import GIVEN, Layout, give_layout
from xalign.renamed import warn_deprecated

P = ParamSpec("P")
R = TypeVar("R")


def takes_layout(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function, or a method after `self`, whose first argument is a model take `layout=` as before.

    The layout holds for the model that it was given for, and for no other.
    """

    @functools.wraps(function)
    def with_layout(*args: Any, **kwargs: Any) -> Any:
        layouts = [one for one in args if isinstance(one, Layout)]
        layout = kwargs.pop("layout", layouts[0] if layouts else None)
        if layout is not None:
            warn_deprecated("layout=", "xalign.register_layout(model_type, layout) once")
            models = [one for one in (kwargs.get("model"), *args[:2]) if isinstance(one, nn.Module)]
            _give(models[0] if models else None, layout)
        return function(*(one for one in args if not isinstance(one, Layout)), **kwargs)

    return with_layout


def _give(model: nn.Module | None, layout: Layout) -> None:
    from xalign.model.architectures.map import map_model

    holders = give_layout(model, layout)
    try:
        if model is not None:
            map_model(model)
    except ModelError:
        for holder in holders:
            del GIVEN[holder]
        raise
