"""Benchmarks as modules: they lie beside the package and import each other by name."""

import importlib
import sys
from contextlib import contextmanager

from tests.tiny import ROOT


@contextmanager
def benchmark(name):
    """A benchmark's module, while the folder of benchmarks can be imported from."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        yield importlib.import_module(name)
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
