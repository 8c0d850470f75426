"""`xalign` as a test types it."""

from typer.testing import CliRunner, Result

from xalign.cli.app import app


def xalign(*arguments: object) -> Result:
    """In this process: exit code and both streams."""
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "120", "NO_COLOR": "1"})
