"""One process of a distributed run: `torchrun --nproc_per_node 2 worker.py MODE FIELDS FOLDER`.

Trains one step with the given fields of an AlignmentConfig and keeps the gradient of all processes together.
"""

import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist

sys.path.insert(0, str(Path(__file__).parent.parent.parent))
os.environ |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}

from tests.training.runs import KeepGradients, make_trainer

mode, fields, folder = sys.argv[1], json.loads(sys.argv[2]), Path(sys.argv[3])
changes = fields.pop("changes", {})
model = None
if mode == "fsdp":
    from torch.distributed.tensor import DTensor
    from transformers import LlamaForCausalLM
    from transformers.distributed import DistributedConfig

    model = LlamaForCausalLM.from_pretrained(
        folder / "model", distributed_config=DistributedConfig(fsdp_size=2), dtype=torch.float32
    )
    assert all(isinstance(parameter, DTensor) for parameter in model.parameters())
trainer = make_trainer(
    "trainer", fields, model=model, folder=str(folder / "run"), ddp_backend="gloo", **changes
)
assert dist.get_world_size() == trainer.args.world_size == 2
keeper = KeepGradients()
trainer.add_callback(keeper)
trainer.train()
if mode == "ddp":
    wrapped = trainer.model_wrapped
    assert isinstance(wrapped, torch.nn.parallel.DistributedDataParallel)
if dist.get_rank() == 0:
    torch.save(keeper.steps[0], folder / "gradients.pt")
dist.barrier()
dist.destroy_process_group()
