"""One process of two that are given different things: `torchrun ... differing_worker.py FOLDER`.

What each of them raised is kept in FOLDER. At the end both measure the same, which shows that they are still
in step.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))
os.environ |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "CI": "1"}

import torch
import torch.distributed as dist

from tests.monitor.training import make_trainer
from tests.tiny import make_model, make_tokenizer
from tests.torchrun import leave
from xalign import AlignmentCallback, AlignmentMonitor, load_pairs, measure

folder = Path(sys.argv[1])
dist.init_process_group("gloo")
rank = dist.get_rank()
model, tokenizer = make_model("llama"), make_tokenizer()
forwards = []
model.register_forward_pre_hook(lambda *args: forwards.append(1))
pairs = load_pairs("bundled", ["deu_Latn"], n=8)


def fails(similarity):
    """A metric of the user's own that fails in one process."""
    if dist.get_rank() == 1:
        raise ZeroDivisionError("in this process only")
    return similarity.diagonal()


def steered(language):
    """A context that cannot be entered in one process, for the second language."""
    import contextlib

    if dist.get_rank() == 1 and language == "deu_Latn":
        raise ZeroDivisionError("cannot be entered here")
    return contextlib.nullcontext()


def measured(**changed):
    options = {"pairs": pairs, "metrics": ["nasca"], "token_budget": 128} | changed
    return measure(model, tokenizer, distributed=True, **options)


def monitored(**changed):
    return AlignmentMonitor(model, tokenizer, pairs, **changed)


def called_back(**changed):
    trainer = make_trainer(evaluate=False, folder=str(folder / f"run-{rank}"), ddp_backend="gloo")
    return AlignmentCallback(trainer, pairs, **changed)


def mine(first, second):
    return (first, second)[rank]


CASES = {
    "sentences": lambda: measured(pairs=load_pairs("bundled", ["deu_Latn"], n=mine(8, 7))),
    "languages": lambda: measured(pairs=load_pairs("bundled", [mine("deu_Latn", "spa_Latn")], n=8)),
    "budget": lambda: measured(token_budget=mine(128, 64)),
    "template": lambda: measured(template=mine(None, "{text} !")),
    "metrics": lambda: measured(metrics=mine(["nasca"], ["mexa"])),
    "sites": lambda: measured(state_site=mine("gate", "inner")),
    "seed": lambda: measured(seed=mine(0, 1)),
    "a folder that one has not": lambda: measured(pairs=mine(pairs, "no-such-folder")),
    "an option that one has not": lambda: measured(**mine({}, {"nonsense": 1})),
    "cadence": lambda: monitored(every=mine(10, 20)),
    "name": lambda: monitored(name=mine("", "news")),
    "at_end": lambda: called_back(at_end=mine(True, False)),
    "keep_best": lambda: called_back(every=1, keep_best=mine("nasca", None)),
    "forward count before": None,
    "a metric that fails": lambda: measured(metrics=[fails, "nasca"]),
    "a context that fails": lambda: measured(steered=steered),
}
found = {}
for name, case in CASES.items():
    if case is None:
        found[name] = len(forwards)
        continue
    try:
        case()
        found[name] = None
    except Exception as error:
        found[name] = f"{type(error).__name__}: {error}"
found["same"] = measured().to_rows()
found["alone"] = measure(model, tokenizer, pairs, ["nasca"], token_budget=128).to_rows()
torch.save(found, folder / f"found-{rank}.pt")
leave()
