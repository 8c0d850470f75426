"""`mixes`: whether a function computes with several tokens at once, found out by running it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from xalign.model.module_values import output_of

_TOLERANCE = 1e-5  # relative; a token that is attended to changes much more


def mixes(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], states: Tensor
) -> bool:
    """Return whether changing every second token of what a function is given changes what it gives of others.

    Args:
        function: What a module computes.
        args: Its positional arguments.
        kwargs: Its named arguments. The tensors in both that hold one row per token are changed.
        states: States [line, token, width] of as many lines and tokens; or [token, line, width].

    Returns:
        Whether it does; False where it gives no states of these tokens.
    """
    lead = states.shape[:2]
    if states.dim() != 3:  # noqa: PLR2004
        return False
    dim = 0 if lead[0] > lead[1] else 1  # the example has fewer lines than tokens
    generator = torch.Generator().manual_seed(0)

    def copied(value: Any) -> Any:
        return value.clone() if isinstance(value, Tensor) else value

    def changed(value: Any) -> Any:
        is_states = isinstance(value, Tensor) and value.is_floating_point() and value.shape[:2] == lead
        if not is_states or value.dim() != 3:  # noqa: PLR2004
            return copied(value)
        noise = torch.randn(value.shape, generator=generator).to(value.device, value.dtype)
        noise.movedim(dim, 0)[1::2] = 0
        return value + noise

    own_args, own_kwargs = tree_map(copied, (args, kwargs))  # a function may write into what it is given
    before = output_of(function(*own_args, **own_kwargs))
    other_args, other_kwargs = tree_map(changed, (args, kwargs))
    after = output_of(function(*other_args, **other_kwargs))
    if before is None or after is None or before.shape[:2] != lead:
        return False
    kept, found = (one.movedim(dim, 0)[1::2].double() for one in (before, after))
    return bool((kept - found).norm() > _TOLERANCE * kept.norm())
