"""`python -m xalign.integrations.ms_swift` prints the path to pass to `--external_plugins`."""

from pathlib import Path

print(Path(__file__).with_name("xalign_plugin.py"))  # noqa: T201
