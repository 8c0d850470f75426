"""`slurm`: an array of jobs, by datatrove's executor."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

from xalign.errors import ArgumentError
from xalign.sweep.engines.datatrove import executor_of, needs, quiet
from xalign.sweep.engines.engine import Engine, Job

_ENVIRONMENT = ("env_command", "condaenv", "venv_path")


def run_slurm(job: Job) -> None:
    """Submit an array with one job per task; `workers` is how many of them run at once.

    Raises:
        MissingExtraError: datatrove is not installed.
        ArgumentError: It runs inside a job, an option is wrong, or `sbatch` refuses.
    """
    try:
        from xalign.sweep.engines.slurm_array import SlurmArray
    except ImportError as error:
        raise needs("datatrove", error) from None
    if "SLURM_ARRAY_TASK_ID" in os.environ:
        raise ArgumentError("engine=slurm cannot be used inside a job of an array; submit from a login node")
    here = shlex.quote(str(Path(sys.executable).parent))
    defaults = {"job_name": "xalign-sweep"}
    if not any(name in job.options for name in _ENVIRONMENT):
        defaults["env_command"] = f"export PATH={here}:$PATH"  # of the program that tasks are started with
    with quiet():
        executor = executor_of(SlurmArray, "slurm", job, defaults)
        try:
            executor.run()
        except FileNotFoundError as error:
            raise ArgumentError(
                f"engine=slurm: {error.filename} is not on the PATH; is this a login node?"
            ) from None
        except subprocess.CalledProcessError as error:
            raise ArgumentError(f"engine=slurm: {error}") from None


SLURM = Engine("slurm", run_slurm, waits=False)
