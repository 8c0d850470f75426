"""A controlled run of two processes, whose controller decides otherwise in each."""

from pathlib import Path

import torch
import torch.distributed as dist

from tests.training.test_closed_loop import make_trainer
from xalign import Decision


def by_rank(signals, decisions):
    """Decide by the number of the process."""
    rank = dist.get_rank()
    return Decision(signals[-1].step, duty=(0.5, 1.0)[rank], reason=f"of process {rank}")


def train_controlled(folder: Path) -> None:
    """Keep in `folder` what each process was told to do, and its weights."""
    folder.mkdir(exist_ok=True)
    trainer = make_trainer(folder / "run", by_rank)
    assert dist.get_world_size() == 2
    trainer.train()
    loop = trainer.closed_loop
    kept = {
        "reasons": [one.reason for one in loop.decisions],
        "alignment": [dict(one.alignment) for one in loop.signals],
        "pairs": loop.counts["pairs"],
        "weights": torch.cat([one.detach().flatten() for one in trainer.model.parameters()]),
    }
    torch.save(kept, folder / f"kept-{dist.get_rank()}.pt")
