"""Recipes run in this process, as `python recipes/NAME.py ...` runs them: starting Python costs most."""

import contextlib
import io
import runpy
import sys
from unittest.mock import patch

from tests.tiny import ROOT


def run_here(recipe, *arguments):
    """Run a recipe, and return what it printed."""
    script = str(ROOT / "recipes" / f"{recipe}.py")
    printed = io.StringIO()
    with (
        patch.object(sys, "argv", [script, *map(str, arguments)]),
        contextlib.chdir(ROOT),
        contextlib.redirect_stdout(printed),
    ):
        runpy.run_path(script, run_name="__main__")
    return printed.getvalue()
