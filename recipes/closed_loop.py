"""Improve a model's alignment in one go: measure, train under a closed loop, centre languages, measure again.

    python recipes/closed_loop.py --config configs/closed_loop_smoke.yaml          # CPU, a minute
    python recipes/closed_loop.py --config configs/closed_loop_qwen3_0.6b.yaml     # one GPU

Needs `pip install -e '.[train,wandb]'` in the checkout.
The command `xalign improve CONFIG` does the same. The text is in UTF-8 files with one document per line. The
plain `Trainer` trains all weights; for another trainer, wrap its class with `with_alignment`, and give that
trainer to `improve`.
"""

import argparse
from pathlib import Path

from rich.console import Console

from xalign import improve
from xalign.improving.config import ImproveConfig

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--config", type=Path, required=True)
parser.add_argument("--output_dir", help="replaces the file's")
arguments = parser.parse_args()
changes = {} if arguments.output_dir is None else {"output_dir": arguments.output_dir}
config = ImproveConfig.load(arguments.config, **changes)

trainer = config.make_trainer()  # with_alignment(Trainer)(model=..., alignment=AlignmentConfig(...))
improvement = improve(
    trainer,
    config.reporting(),
    metrics=config.improve.measure_metrics,
    every=config.improve.measure_every,
    centre=config.improve.centre,
    resume_from_checkpoint=config.training.resume_from_checkpoint,
)
trainer.save_model()

Console(width=150).print(improvement.table())
for sentence in improvement.sentences():
    print(f"- {sentence}")
print(f"wrote {improvement.to_html(Path(config.training.output_dir) / 'improvement.html')}")
