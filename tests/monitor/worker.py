"""One process of a run of two: `torchrun --nproc_per_node 2 worker.py FOLDER MODE ...`.

Trains with and without the callback under DDP or FSDP2, or has one process fail while it measures. What was
found is kept in FOLDER/MODE, per process. Starting costs more than a run: one launch does several.
"""

import functools
import os
import signal
import sys
import warnings
from pathlib import Path

import torch
import torch.distributed as dist

sys.path.insert(0, str(Path(__file__).parent.parent.parent))
os.environ |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "CI": "1"}

from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from transformers import LlamaForCausalLM
from transformers.distributed import DistributedConfig

from tests.monitor.training import make_trainer, whole
from tests.tiny import make_tokenizer
from tests.torchrun import leave
from xalign import AlignmentCallback, load_pairs, measure
from xalign.errors import XAlignError

pairs = load_pairs("bundled", ["deu_Latn", "spa_Latn"], n=12)
OPTIONS = {"metrics": ("nasca", "margin"), "token_budget": 128}


def trainer_of(mode, folder, name, evaluate=True):
    model = None
    if mode == "fsdp":
        model = LlamaForCausalLM.from_pretrained(
            folder.parent / "model", distributed_config=DistributedConfig(fsdp_size=2), dtype=torch.float32
        )
        assert all(isinstance(parameter, DTensor) for parameter in model.parameters())
    trainer = make_trainer(
        "trainer", evaluate=evaluate, folder=str(folder / name), model=model, ddp_backend="gloo"
    )
    assert dist.get_world_size() == trainer.args.world_size == 2
    return trainer


def weights_of(trainer):
    return {name: whole(parameter) for name, parameter in trainer.model.named_parameters()}


def failing(model, error, when):
    """Has a model's forward fail in this process while it measures."""
    forward = model.forward

    @functools.wraps(forward)  # the trainer reads its signature
    def fails(*args, **kwargs):
        if not model.training and when(kwargs["input_ids"]):
            error()
        return forward(*args, **kwargs)

    model.forward = fails


def trains_watched_and_not(mode, folder):
    plain = trainer_of(mode, folder, "plain")
    plain.train()
    watched = trainer_of(mode, folder, "watched")
    callback = AlignmentCallback(watched, pairs, every=2, **OPTIONS)
    watched.add_callback(callback)
    counted = []
    watched.model.register_forward_pre_hook(
        lambda module, args, kwargs: counted.append(module.training), with_kwargs=True
    )
    watched.train()
    if mode == "ddp":
        assert isinstance(watched.model_wrapped, DistributedDataParallel)
    alone = measure(watched.model, make_tokenizer(), pairs, **OPTIONS)
    return {
        "plain": (plain.state.log_history, weights_of(plain)),
        "watched": (watched.state.log_history, weights_of(watched)),
        "reports": [(report.step, report.to_rows()) for report in callback.reports],
        "alone": alone.to_rows(),
        "measuring_forwards": counted.count(False),
        "files": sorted(str(path.relative_to(folder)) for path in (folder / "watched").rglob("report.json")),
    }


def too_large():
    raise torch.OutOfMemoryError("out of memory, simulated")


def broken():
    raise RuntimeError("the cable was cut")


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def fails_while_it_measures(mode, folder):
    trainer = trainer_of(mode, folder, "run", evaluate=False)
    callback = AlignmentCallback(trainer, pairs, every=2, **OPTIONS)
    trainer.add_callback(callback)
    found = {}
    if dist.get_rank() == 1:
        fails, when = {
            "oom": (too_large, lambda ids: len(ids) > 1 and ids.numel() > 60),
            "raise": (broken, lambda ids: trainer.state.global_step >= 2),
            "kill": (killed, lambda ids: trainer.state.global_step >= 2),
        }[mode]
        failing(trainer.model, fails, when)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            trainer.train()
        except XAlignError as error:
            found["error"] = str(error)
    return found | {
        "warned": [str(warning.message) for warning in warned],
        "reports": [(report.step, report.to_rows()) for report in callback.reports],
        "weights": weights_of(trainer),
    }


for mode in sys.argv[2:]:
    folder = Path(sys.argv[1]) / mode
    folder.mkdir(exist_ok=True)
    does = trains_watched_and_not if mode in ("ddp", "fsdp") else fails_while_it_measures
    torch.save(does(mode, folder), folder / f"found-{dist.get_rank()}.pt")
leave()
