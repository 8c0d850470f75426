"""One process of two that run cells: `torchrun --nproc_per_node 2 cells_worker.py FOLDER CELL …`."""

import os
import sys
import traceback
import warnings
from pathlib import Path

import torch
import torch.distributed as dist

sys.path.insert(0, str(Path(__file__).parent.parent.parent))
os.environ |= {
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "CI": "1",
    "ACCELERATE_USE_CPU": "true",
}

from tests.monitor.cells import run_cell
from tests.torchrun import leave

warnings.simplefilter("ignore")
folder = Path(sys.argv[1])
for number, name in enumerate(sys.argv[2:]):
    own = folder / str(number)
    try:
        found = run_cell(tuple(name.split()), own)
    except Exception:
        found = {"error": traceback.format_exc()}
    torch.save(found, own / f"found-{os.environ['RANK']}.pt")
if dist.is_initialized():
    leave()
