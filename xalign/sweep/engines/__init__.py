"""Who runs the tasks of a sweep: `ENGINES`, by name."""

from xalign.sweep.engines.engine import Engine, Job
from xalign.sweep.engines.local import LOCAL
from xalign.sweep.engines.ray import RAY
from xalign.sweep.engines.slurm import SLURM

__all__ = ["ENGINES", "Engine", "Job"]

ENGINES = {engine.name: engine for engine in (LOCAL, SLURM, RAY)}
