"""Write units, vectors and whole sites into a running model."""

from typing import Any

from xalign.renamed import renamed
from xalign.steering.intervention import Intervention
from xalign.steering.steer import steer

__all__ = ["Intervention", "steer"]


def __getattr__(name: str) -> Any:
    return renamed(__name__, name)
