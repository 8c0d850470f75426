"""What the arguments of one forward say of its tokens: their columns, which are padding, and packed rows."""

from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from xalign.errors import ModelError
from xalign.model.tokens import Unknown

NOT_2D = Unknown(
    "attention_mask is not [sentence, column], so padding is not known; give a boolean mask as positions="
)


def cache_of(given: dict[str, Any]) -> Any:
    """Return the cache among the arguments of a forward or of `generate`; None where there is none.

    transformers called it `past_key_values` up to 5.23, and calls it `cache` from 5.24 on.
    """
    return next((given[name] for name in ("past_key_values", "cache") if given.get(name) is not None), None)


def cache_length(cache: Any) -> int | Unknown:
    """Return the number of tokens that a cache has seen."""
    if cache is None:
        return 0
    try:
        return int(cache.get_seq_length())
    except (AttributeError, TypeError, ValueError):
        return Unknown(f"a cache of type {type(cache).__name__} does not say how many tokens it has seen")


def columns_of(inputs: Tensor, past: int, given: dict[str, Any]) -> Int[Tensor, " token"]:
    """Return the position of each token of a forward in the whole sequence.

    Raises:
        ModelError: A `cache_position` that does not agree with the cache.
    """
    columns = torch.arange(past, past + inputs.shape[1], device=inputs.device)
    said = given.get("cache_position")
    if (
        isinstance(said, Tensor)
        and said.shape == columns.shape
        and not torch.equal(said.to(columns), columns)
    ):
        raise ModelError(
            f"cache_position says that the forward begins at column {int(said[0])}, and its cache holds "
            f"{past} tokens; leave cache_position out"
        )
    return columns


def real_of(mask: object, inputs: Tensor, past: int) -> Bool[Tensor, "batch token"] | Unknown:
    """Return which tokens of a forward are not padding."""
    n, length = inputs.shape[:2]
    whole = prompt_mask(mask, inputs, past + length)
    return whole if isinstance(whole, Unknown) else whole[:, past : past + length].expand(n, length)


def prompt_mask(mask: object, inputs: Tensor, width: int) -> Bool[Tensor, "batch column"] | Unknown:
    """Return which of the first `width` columns are not padding."""
    if mask is None:
        return torch.ones(len(inputs), width, dtype=torch.bool, device=inputs.device)
    if not isinstance(mask, Tensor) or mask.dim() != 2:
        return NOT_2D
    if mask.shape[1] < width:
        return Unknown(
            f"attention_mask has {mask.shape[1]} columns where {width} are asked for; give a mask of the "
            "whole sequence, cached tokens too"
        )
    return mask[:, :width].to(inputs.device).bool()


def packed_starts(inputs: Tensor, past: int, given: dict[str, Any]) -> Bool[Tensor, "batch token"] | None:
    """Return where sequences begin in rows that hold several; None where rows hold one each.

    transformers tells packed rows in the same way: there is no mask and no cache, and position ids do not
    rise by one.
    """
    ids = given.get("position_ids")
    if not isinstance(ids, Tensor) or ids.dim() != 2 or past or given.get("attention_mask") is not None:
        return None
    starts = torch.ones(inputs.shape[:2], dtype=torch.bool, device=inputs.device)
    starts[:, 1:] = (ids.diff(dim=1) != 1).to(inputs.device)
    return starts if bool(starts[:, 1:].any()) else None
