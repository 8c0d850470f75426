"""Benchmarks as modules: they lie beside the package and import each other by name."""

import importlib
import sys

from tests.tiny import ROOT


def benchmark(name):
    """Import a benchmark."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
