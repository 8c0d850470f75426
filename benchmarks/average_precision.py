"""Time the average precision of 20,000 units on 2,000 sentences against a loop over scikit-learn's.

    python benchmarks/average_precision.py
    python benchmarks/average_precision.py --smoke    # seconds

The ratio is that of CPU times of one process on one thread, the median of 5 runs. The loop is timed on 1,000
of the units and scaled, since each unit takes as long.
"""

from statistics import median

import torch
from clock import alternate, machine, parser_of, write
from sklearn.metrics import average_precision_score

from xalign.metrics.average_precision import average_precision

arguments = parser_of(__doc__).parse_args()
UNITS, EXAMPLES, TIMED = (200, 200, 20) if arguments.smoke else (20_000, 2_000, 1_000)
CPU = torch.device("cpu")

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


gap = (ours()[:TIMED] - theirs()).abs().max().item()
print(f"largest difference {gap:.1e}")
taken = alternate({"ours": ours, "theirs": theirs}, 1 if arguments.smoke else arguments.runs, CPU)
ratios = [UNITS / TIMED * one / other for one, other in zip(taken["theirs"], taken["ours"], strict=True)]
print("times as fast:", " ".join(f"{ratio:.1f}" for ratio in ratios), "median", f"{median(ratios):.1f}")
write(arguments.out, {"machine": machine(CPU), "largest_difference": gap, "times_as_fast": ratios})
