"""An `AlignmentConfig` as a tracker's config holds it."""

from collections.abc import Sized
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from xalign.pairs.parallel import ParallelPairs
from xalign.plain_config import Plain, plain_config

if TYPE_CHECKING:
    from xalign.training.config import AlignmentConfig

PREFIX = "align"
# Fields that may hold sentences, which no tracker gets.
_TEXT = frozenset({"pairs", "held_out", "eval_pairs", "control_pairs", "replay", "guard", "links"})


def settings_of(config: "AlignmentConfig") -> dict[str, Plain]:
    """Return the fields of a config under the names that `AlignmentArguments` has for them.

    So a sweep over `--align_weight` and the config of its runs use the same key. Text that is given directly,
    and not as a path, appears only as its fingerprint or its size.

    Args:
        config: The config.
    """
    values = {one.name: getattr(config, one.name) for one in fields(config)}
    shown = {name: _without_text(value) if name in _TEXT else value for name, value in values.items()}
    return plain_config(shown, PREFIX)


def _without_text(value: object) -> str | None:
    if value is None or isinstance(value, str | Path):
        return None if value is None else str(value)
    if isinstance(value, ParallelPairs):
        return value.fingerprint[:16]
    return f"{len(value)} given" if isinstance(value, Sized) else type(value).__name__
