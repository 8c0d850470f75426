"""A worker without models: it does what the name of a task says, and notes it in a file."""

import json
import os
import signal
import sys
from pathlib import Path

folder = Path(sys.argv[1])
for line in sys.stdin:
    name = line.strip()
    what, _, _ = name.partition("/")
    with (folder / "begun").open("a") as file:
        file.write(f"{name}\n")
    begun = (folder / "begun").read_text().split("\n").count(name)
    if what == "killed" or (what == "killed_once" and begun == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "exits":
        raise SystemExit(3)
    sys.stdout.write(json.dumps({"name": name, "error": "bad luck" if what == "fails" else None}) + "\n")
    sys.stdout.flush()
