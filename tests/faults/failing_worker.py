"""One process of two, of which one fails while it measures: `torchrun ... failing_worker.py MODE FOLDER`.

Trains without and with the callback. At step 2, and only there, something fails in process 1 (with `nan-fsdp`
in both; with `disk` in process 0). What was found is kept in FOLDER.
"""

import os
import shutil
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))
os.environ |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "CI": "1"}

import torch
import torch.distributed as dist
from transformers import LlamaForCausalLM
from transformers.distributed import DistributedConfig

from tests.monitor.training import make_trainer, whole
from tests.torchrun import leave
from xalign import AlignmentCallback, load_pairs

mode, folder = sys.argv[1], Path(sys.argv[2])


def trainer_of(name):
    model = None
    if mode.endswith("fsdp"):
        model = LlamaForCausalLM.from_pretrained(
            folder / "model", distributed_config=DistributedConfig(fsdp_size=2), dtype=torch.float32
        )
    return make_trainer(evaluate=False, folder=str(folder / name), model=model, ddp_backend="gloo")


def weights_of(trainer):
    return {name: whole(parameter) for name, parameter in trainer.model.named_parameters()}


plain = trainer_of("plain")
plain.train()
trainer = trainer_of("watched")


def own(similarity):
    if mode == "metric" and dist.get_rank() == 1 and trainer.state.global_step == 2:
        raise ZeroDivisionError("in this process only")
    return similarity.diagonal().contiguous()


callback = AlignmentCallback(
    trainer,
    load_pairs("bundled", ["deu_Latn", "spa_Latn"], n=12),
    every=2,
    metrics=["nasca", own],
    token_budget=128,
)
trainer.add_callback(callback)
run = callback._monitor.measurement.run
norm = trainer.model.model.norm
forward = norm.forward


def failing(step=None):
    fails_here = dist.get_rank() == 1 or mode == "nan-fsdp"
    if step == 2 and mode == "disk" and dist.get_rank() == 0:
        shutil.rmtree(folder / "watched" / "alignment")
        (folder / "watched" / "alignment").write_text("a file")
    if step == 4 and mode == "disk" and dist.get_rank() == 0:
        (folder / "watched" / "alignment").unlink()
    if step != 2 or not fails_here or mode in ("metric", "disk"):
        return run(step)
    if mode == "raise":

        def cut(*args, **kwargs):
            raise RuntimeError("the cable was cut")

        norm.forward = cut
    else:
        norm.forward = lambda states: forward(states) * float("nan")
    try:
        return run(step)
    finally:
        norm.forward = forward


callback._monitor.measurement.run = failing
with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    trainer.train()
found = {
    "plain": weights_of(plain),
    "watched": weights_of(trainer),
    "steps": [report.step for report in callback.reports],
    "reports": [(report.step, report.to_rows()) for report in callback.reports],
    "missing": callback.missing,
    "warned": [str(one.message) for one in warned],
}
torch.save(found, folder / f"found-{dist.get_rank()}.pt")
leave()
