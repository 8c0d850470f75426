"""What an offline W&B run wrote, by W&B's own reader."""

import json
import subprocess
import sys
from pathlib import Path

from tests.versions.require import require


def offline_run(folder: Path) -> tuple[Path, list[dict]]:
    """The one offline run under a folder: where its files lie, and its records in order."""
    require("its reader shows no run as JSON", wandb="0.31")
    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    command = [Path(sys.executable).parent / "wandb", "leet", "inspect", "--json", path]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return path.parent, [json.loads(line) for line in lines]
