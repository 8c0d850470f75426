"""Runs a recipe as one process of several: `torchrun --nproc_per_node 2 no_thread_left.py RECIPE …`.

Fails where the recipe ends and leaves Gloo's threads behind: one that is late frees its tensors while the
interpreter ends, which can abort the process (pytorch/pytorch#190489).
"""

import runpy
import sys
from pathlib import Path

sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
threads = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
assert not [name for name in threads if "gloo" in name], threads
