"""Time the average precision of 20,000 units on 2,000 sentences against a loop over scikit-learn's.

    python benchmarks/average_precision.py

The ratio is that of CPU times of one process on one thread, the median of 5 runs. The loop is timed on 1,000
of the units and scaled, since each unit takes as long.
"""

import statistics
import time

import torch
from sklearn.metrics import average_precision_score

from xalign.metrics.average_precision import average_precision

UNITS, EXAMPLES, TIMED = 20_000, 2_000, 1_000

torch.set_num_threads(1)
torch.manual_seed(0)
scores = torch.randn(EXAMPLES, UNITS)
positive = torch.rand(EXAMPLES) < 0.2


def ours():
    """Score all units at once."""
    return average_precision(scores, positive)


def theirs():
    """Score some units, one by one."""
    return torch.tensor(
        [average_precision_score(positive.numpy(), unit.numpy()) for unit in scores.T[:TIMED].contiguous()]
    )


def seconds(call):
    """Return the CPU seconds of a call."""
    started = time.process_time()
    call()
    return time.process_time() - started


gap = (ours()[:TIMED] - theirs()).abs().max().item()
print(f"largest difference {gap:.1e}")
ratios = [UNITS / TIMED * seconds(theirs) / seconds(ours) for _ in range(5)]
print(
    "times as fast:",
    " ".join(f"{ratio:.1f}" for ratio in ratios),
    "median",
    f"{statistics.median(ratios):.1f}",
)
