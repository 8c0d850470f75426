"""Compare ways to steer on one bench: language, meaning, soundness and cost, beside random controls."""

from xalign.judging.bench.bench import bench_steering
from xalign.judging.bench.contestant import Contestant
from xalign.judging.bench.contestants import CONTESTANTS
from xalign.judging.bench.standing import Standing

__all__ = ["CONTESTANTS", "Contestant", "Standing", "bench_steering"]
