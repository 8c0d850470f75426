"""The command line: one verb per file."""

from xalign.cli.app import main

__all__ = ["main"]
