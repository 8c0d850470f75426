"""One process of a controlled run: `torchrun --nproc_per_node 2 controlled_worker.py FOLDER`.

Its controller decides otherwise in each process. What each process was told to do, and its weights, are kept.
"""

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist

sys.path.insert(0, str(Path(__file__).parent.parent.parent))
os.environ |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}

from tests.torchrun import leave
from tests.training.test_closed_loop import make_trainer
from xalign import Decision

folder = Path(sys.argv[1])


def by_rank(signals, decisions):
    """Decide by the number of the process."""
    rank = dist.get_rank()
    return Decision(signals[-1].step, duty=(0.5, 1.0)[rank], reason=f"of process {rank}")


trainer = make_trainer(folder / "run", by_rank)
assert dist.get_world_size() == 2
trainer.train()
weights = torch.cat([one.detach().flatten() for one in trainer.model.parameters()])
loop = trainer.closed_loop
kept = {
    "reasons": [one.reason for one in loop.decisions],
    "alignment": [dict(one.alignment) for one in loop.signals],
    "pairs": loop.counts["pairs"],
    "weights": weights,
}
torch.save(kept, folder / f"kept-{dist.get_rank()}.pt")
leave()
