"""A name of xalign in the documentation is one, and means what a reader takes it for."""

import importlib
import re
from types import ModuleType

import pytest

from tests.test_docs import PAGES

NAME = re.compile(r"`(xalign(?:\.\w+)+)(\(?)")


def found_under(name):
    """What a reader gets who imports the longest module of a dotted name, and takes the rest from it."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            value = getattr(value, part)
        return value
    raise AttributeError(name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_dotted_name_is_what_it_seems(page):
    """docs/steering.md named `xalign.metrics.lape` as a function, and it is a module."""
    for name, called in NAME.findall(page.read_text(encoding="utf-8").replace("xalign.yaml", "")):  # a file
        value = found_under(name)
        assert callable(value) or not called, name
        own = name.rpartition(".")[2]
        is_misleading = isinstance(value, ModuleType) and callable(getattr(value, own, None))
        assert not is_misleading, f"{name} is a module; write {name}.{own}, or show the import"
