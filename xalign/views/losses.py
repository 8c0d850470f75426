"""The training loss of a run, from what a trainer keeps beside its checkpoints."""

import json
import math
from pathlib import Path
from typing import Any

from xalign.files import read_regular
from xalign.results.history import History
from xalign.results.run_folder import PRIVATE, PUBLIC, TRAINER_STATE

MOST = 1000


def losses_of(history: History) -> list[tuple[int, float]]:
    """Return step and training loss of each logged row, up to the last measurement; empty where none is kept.

    They are read from the newest `trainer_state.json` of the run: in its folder, or in a checkpoint there. If
    there are more than 1000 rows, only every second one is taken, or every third, and so on.

    Args:
        history: The history of a run, which lies in the trainer's `output_dir`.
    """
    if history.path is None or not history.entries:
        return []
    folder = history.path.resolve().parent
    while folder.name not in (PUBLIC, PRIVATE) and folder != folder.parent:
        folder = folder.parent  # a callback with a name has a folder of its own below
    states = [*folder.parent.glob(TRAINER_STATE), *folder.parent.glob(f"checkpoint-*/{TRAINER_STATE}")]
    rows = max((_rows(path) for path in states), key=lambda found: found[-1][0] if found else -1, default=[])
    rows = [row for row in rows if row[0] <= history.steps[-1]]
    return rows[:: -(-len(rows) // MOST) or 1]


def _rows(path: Path) -> list[tuple[int, float]]:
    """Return the rows of one file; none where it is damaged, since it is only shown beside."""
    try:
        logged: Any = json.loads(read_regular(path))["log_history"]
        found = [(int(row["step"]), float(row["loss"])) for row in logged if "loss" in row]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return sorted((step, loss) for step, loss in found if math.isfinite(loss))
