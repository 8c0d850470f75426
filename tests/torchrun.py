"""Scripts run by several processes."""

import os
import subprocess
import sys

import torch.distributed as dist

from tests.tiny import ROOT


def torchrun(script, *arguments, processes=2, timeout=400, **options):
    """Runs a script in several processes on this machine, and returns when all have ended."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc_per_node", str(processes), str(script), *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=timeout, **options
    )


def leave():
    """Ends a process of several when all are here, without the interpreter's end.

    There, a thread of Gloo's that is late in freeing its tensors can abort the process
    (pytorch/pytorch#190489).
    """
    dist.barrier()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
