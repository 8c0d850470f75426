"""The command line: `xalign measure | compare | demo | doctor`."""

from xalign.cli.app import main

__all__ = ["main"]
