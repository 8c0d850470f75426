"""`python -m xalign.integrations.ms_swift` prints the path to pass to `--external_plugins`."""

from pathlib import Path

PLUGIN = Path(__file__).with_name("xalign_plugin.py")

if __name__ == "__main__":
    print(PLUGIN)  # noqa: T201
