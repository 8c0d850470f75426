"""A worker of `xalign sweep`: a process that measures the tasks it is given, one after another."""

import json
import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from xalign.cli.loading import Loaded, load_model
from xalign.errors import XAlignError
from xalign.monitor.checkpoint_folders import unchanged
from xalign.sweep.plan import Plan, claim_folder
from xalign.sweep.spec import Loading
from xalign.sweep.task import Load, run_task


def loader_of(loading: Loading) -> Load:
    """Return the function that loads the models of a sweep."""

    def load(name: str, revision: str | None, is_audio: bool) -> Loaded:
        options: Any = {
            "tokenizer": loading.tokenizer,
            "dtype": loading.dtype,
            "device": loading.device,
            "trust_remote_code": loading.trust_remote_code,
            "progress": False,
            "is_audio": is_audio,
        }
        if not Path(name).is_dir():
            return load_model(name, revision=revision, **options)
        with unchanged(Path(name)):
            return load_model(name, **options)

    return load


def run_rank(data: object, rank: int, world_size: int, *, folder: str) -> None:  # noqa: ARG001
    """Run one task of a plan, as a step of a datatrove pipeline.

    Args:
        data: Nothing.
        rank: The number of the task.
        world_size: How many there are.
        folder: The folder of the plan.
    """
    plan = Plan.load(folder)
    os.chdir(plan.folder)  # a cluster may start jobs elsewhere
    run_task(plan, plan.tasks[rank], claim_folder(plan), loader_of(plan.loading))


def serve(folder: str, names: IO[str], answers: IO[str]) -> None:
    """Measure the tasks whose names come in, and answer each with a line of JSON.

    Args:
        folder: The folder of the plan.
        names: A name on each line.
        answers: Where to write name and error, or null.
    """
    plan = Plan.load(folder)
    pairs, tasks = claim_folder(plan), {task.name: task for task in plan.tasks}
    load = loader_of(plan.loading)
    for line in names:
        name, error = line.rstrip("\n"), None
        try:
            for measured in run_task(plan, tasks[name], pairs, load):
                sys.stderr.write(f"measured {name} on {measured}\n")
        except XAlignError as reason:
            error = str(reason)
        except Exception as reason:  # whatever it is, the others go on
            traceback.print_exc()
            error = f"{type(reason).__name__}: {reason}"
        answers.write(json.dumps({"name": name, "error": error}) + "\n")
        answers.flush()


if __name__ == "__main__":
    # Answers have a stream of their own: what libraries print goes to the log.
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with suppress(BrokenPipeError):  # the sweep was killed; what was measured until then is saved
        serve(sys.argv[1], sys.stdin, own)
