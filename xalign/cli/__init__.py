"""The command line: one verb per file."""

__all__ = ["main"]


def main() -> None:
    """Run the `xalign` command."""
    # Before anything that takes time is imported.
    from xalign.cli.interrupts import handle_interrupts, ignore_interrupts

    handle_interrupts()
    from xalign.cli.app import main as run

    try:
        run()
    finally:
        ignore_interrupts()
