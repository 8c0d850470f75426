"""Guards: what holds a model near its start while it is aligned. Each is a file with its mathematics."""

from typing import Any

from xalign.renamed import renamed


def __getattr__(name: str) -> Any:
    return renamed(__name__, name)
