"""What several callbacks on one trainer must not share."""

from collections.abc import Sequence
from typing import Protocol

from xalign.errors import ArgumentError


class Peer(Protocol):
    """What one callback knows of another."""

    name: str

    @property
    def best_key(self) -> str | None:
        """The key by which it keeps the best checkpoint; None if it keeps none."""


def refuse_duplicates(own: Peer, others: Sequence[Peer]) -> None:
    """Refuse another callback of the same name, or a second one that keeps a best checkpoint.

    Raises:
        ArgumentError: There is one.
    """
    if own.best_key is not None:
        refuse_second_best(own.best_key, others)
    # Folders of names that differ in case are one on some systems.
    if own.name.casefold() in [other.name.casefold() for other in others]:
        raise ArgumentError(
            f"the trainer has an AlignmentCallback with name={own.name!r} already, whose keys and folder "
            "would be the same: give this one a name of its own, or one callback all metrics"
        )


def refuse_second_best(key: str, others: Sequence[Peer]) -> None:
    """Refuse to keep a best checkpoint beside another callback that does.

    Raises:
        ArgumentError: There is one.
    """
    keeping = [other.best_key for other in others if other.best_key is not None]
    if keeping:
        raise ArgumentError(
            f"keep_best={key!r} beside another callback's keep_best={keeping[0]!r}: a trainer knows "
            "one best checkpoint; leave one of them out"
        )
