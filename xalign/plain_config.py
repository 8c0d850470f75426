"""What a tracker's config holds of settings: short plain values under plain keys."""

from collections.abc import Iterable, Mapping
from pathlib import Path

Plain = str | int | float | bool
Config = Mapping[str, Plain]


def plain_config(settings: Mapping[str, object], prefix: str) -> dict[str, Plain]:
    """Return settings as a tracker's config holds them, to sort, filter and sweep runs by.

    Numbers, switches and text stay what they are. Lists and mappings become text, as a command line takes
    them; objects and functions their names. What is None is left out.

    Args:
        settings: Name -> value. Text in it leaves the machine where the tracker does: give no sentences.
        prefix: Put in front of each key, with `_`.

    Example:
        >>> plain_config({"weight": 0.5, "layer": {4: 0.5, 8: 0.5}, "template": None}, "align")
        {'align_weight': 0.5, 'align_layer': '4:0.5,8:0.5'}
    """
    return {f"{prefix}_{name}": _plain(value) for name, value in settings.items() if value is not None}


def _plain(value: object) -> Plain:
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return ",".join(f"{_plain(key)}:{_plain(each)}" for key, each in value.items())
    if isinstance(value, Iterable):
        return ",".join(str(_plain(each)) for each in value)
    for named in ("name", "__name__"):
        name = getattr(value, named, None)
        if isinstance(name, str):
            return name
    return type(value).__name__
