"""One process of a distributed run: `torchrun --nproc_per_node 2 worker.py MODE CELLS FOLDER`.

Trains one step for each cell, fields of an AlignmentConfig and changes to the trainer's arguments, and keeps
the gradient of all processes together and what was warned of. Under DDP, a controlled run comes last.
"""

import json
import os
import sys
import warnings
from pathlib import Path

import torch
import torch.distributed as dist

sys.path.insert(0, str(Path(__file__).parent.parent.parent))
os.environ |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}

from torch.distributed.tensor import DTensor
from transformers import LlamaForCausalLM
from transformers.distributed import DistributedConfig

from tests.torchrun import leave
from tests.training.controlled import train_controlled
from tests.training.runs import KeepGradients, make_trainer, moved

mode, cells, folder = sys.argv[1], json.loads(sys.argv[2]), Path(sys.argv[3])
found = []
for fields, changes in cells:
    model, is_moved = None, changes.pop("is_moved", False)
    if mode == "fsdp":
        model = LlamaForCausalLM.from_pretrained(
            folder / "model", distributed_config=DistributedConfig(fsdp_size=2), dtype=torch.float32
        )
        assert all(isinstance(parameter, DTensor) for parameter in model.parameters())
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        trainer = make_trainer(
            "trainer", fields, model=model, folder=str(folder / "run"), ddp_backend="gloo", **changes
        )
        assert dist.get_world_size() == trainer.args.world_size == 2
        if is_moved:
            moved(trainer.model)
        keeper = KeepGradients()
        trainer.add_callback(keeper)
        trainer.train()
    if mode != "fsdp":
        assert isinstance(trainer.model_wrapped, torch.nn.parallel.DistributedDataParallel)
    found.append((keeper.steps[0], [str(warning.message) for warning in warned]))
if dist.get_rank() == 0:
    torch.save(found, folder / "found.pt")
if mode == "ddp":
    train_controlled(folder / "controlled")
leave()
