"""A run that is killed and resumed: `python resumed.py FOLDER KILL_AT [--without]`.

Trains 12 steps with a checkpoint at every third, and kills itself at a moment: the KILL_AT-th time that a
step, a measurement, a line of the history or a part of a checkpoint is reached, a line in its middle. Without
the callback where told so.
"""

import os
import sys
from pathlib import Path
from unittest.mock import patch

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent.parent))
    os.environ |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "CI": "1"}

from tests.killed import KillsItself
from tests.monitor.training import make_trainer
from tests.torn import Torn
from xalign import AlignmentCallback, load_pairs
from xalign.results import history_file


def train(folder, kill_at=0, is_watched=True):
    """Train to the end, from the last checkpoint in the folder; return how many moments it had."""
    kills_itself = KillsItself(at=kill_at)
    moment = kills_itself.moment
    trainer = make_trainer(max_steps=12, save_strategy="steps", save_steps=3, folder=str(folder))
    if is_watched:
        pairs = load_pairs("bundled", ["deu_Latn"], n=8)
        callback = AlignmentCallback(trainer, pairs, every=2, metrics=("nasca", "margin"))
        callback._monitor.measurement.run = moment(callback._monitor.measurement.run)
        trainer.add_callback(callback)
    trainer.save_model = moment(trainer.save_model)
    trainer._save_optimizer_and_scheduler = moment(trainer._save_optimizer_and_scheduler)
    trainer.training_step = moment(trainer.training_step)
    checkpoints = sorted(Path(folder).glob("checkpoint-*/trainer_state.json"), key=os.path.getmtime)

    def torn(*given, **options):
        return Torn(open(*given, **options), moment(lambda: None))

    with patch.object(history_file, "open", torn, create=True):
        trainer.train(resume_from_checkpoint=str(checkpoints[-1].parent) if checkpoints else None)
    return kills_itself.reached


if __name__ == "__main__":
    train(Path(sys.argv[1]), int(sys.argv[2]), "--without" not in sys.argv)
