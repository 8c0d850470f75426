"""The experiment trackers that get pictures and tables beside a trainer's scalars: one file each.

A new tracker is a file with its functions and its `Tracker`, and one line in `TRACKERS`.
"""

from typing import Any

from xalign.trackers.comet import COMET
from xalign.trackers.mlflow import MLFLOW
from xalign.trackers.swanlab import SWANLAB
from xalign.trackers.tensorboard import TENSORBOARD
from xalign.trackers.tracker import Tracker
from xalign.trackers.trackio import TRACKIO
from xalign.trackers.wandb import WANDB

TRACKERS: dict[str, Tracker[Any]] = {
    tracker.name: tracker for tracker in (WANDB, TRACKIO, TENSORBOARD, MLFLOW, COMET, SWANLAB)
}
