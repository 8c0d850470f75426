"""A run with `keep_best` that is killed and resumed: `python keeps_best.py FOLDER KILL_AT`.

Its best measurements are at steps 2, 4, 5, 8 and 10 of 12, and the trainer saves every third step for itself.
It kills itself the KILL_AT-th time that a file is opened, moved, removed or synchronised, or a step or a
measurement is reached.
"""

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))
os.environ |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "CI": "1"}

import torch

from tests.killed import KillsItself
from tests.monitor.training import make_trainer
from xalign import AlignmentCallback, load_pairs

SCORES = {2: 0.2, 4: 0.4, 5: 0.5, 8: 0.8, 10: 0.9}
folder, kills_itself = Path(sys.argv[1]), KillsItself(at=int(sys.argv[2]))
moment = kills_itself.moment

trainer = make_trainer(
    evaluate=False, max_steps=12, save_strategy="steps", save_steps=3, folder=str(folder), logging_steps=50
)
callback = AlignmentCallback(
    trainer, load_pairs("bundled", ["deu_Latn"], n=4), every=1, keep_best="nasca", save_reports=False
)
measurement = callback._monitor.measurement
run = measurement.run


def scored(step):
    report = run(step)
    summary = report.summary() | {"nasca": SCORES.get(step, 0.1)}
    object.__setattr__(report, "summary", lambda: summary)
    return report


measurement.run = moment(scored)
keep_best = callback._binding.keep_best
saved = keep_best.saved


def noted(state):
    """Notes that the trainer has saved the best checkpoint whole."""
    if keep_best._saved_for_this or state.best_global_step == state.global_step:
        with open(folder / "kept.txt", "a") as file:
            file.write(f"checkpoint-{state.global_step}\n")
    saved(state)


keep_best.saved = noted
trainer.add_callback(callback)
trainer.save_model = moment(trainer.save_model)
trainer._save_optimizer_and_scheduler = moment(trainer._save_optimizer_and_scheduler)
trainer.training_step = moment(trainer.training_step)
for name in ("open", "rename", "replace", "unlink", "rmdir", "fsync", "mkdir"):
    setattr(os, name, moment(getattr(os, name)))
checkpoints = sorted(
    (int(path.parent.name.split("-")[1]) for path in folder.glob("checkpoint-*/trainer_state.json")),
)
trainer.train(resume_from_checkpoint=str(folder / f"checkpoint-{checkpoints[-1]}") if checkpoints else None)
torch.save({name: p.detach() for name, p in trainer.model.named_parameters()}, folder / "weights.pt")
best = Path(trainer.state.best_model_checkpoint).name
(folder / "last.json").write_text(json.dumps({"checkpoint": best, "value": trainer.state.best_metric}))
print("moments:", kills_itself.reached)
