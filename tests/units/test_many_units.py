"""Very many units: everything that is done with a set takes seconds and the memory of a few copies."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.tiny import ROOT
from xalign import UnitSet

SITES, LABELS = 48, 10
SECONDS = {100_000: 1.0, 10_000_000: 10.0}  # of CPU, for each thing that is done
# A row is 32 bytes. Saving holds a set, the columns as they are written, the file, and the set that is read
# from it to see whether it loads.
COPIES, BASE = 12, 2**30


def columns(n, seed):
    """Rows in no order, at random places: the hardest case for sorting and for finding equal rows."""
    draw = np.random.default_rng(seed)
    width = 4 * n // (SITES * LABELS) + 1
    key = draw.choice(SITES * LABELS * width, n, replace=False)
    group, index = np.divmod(key, width)
    label, site = np.divmod(group, SITES)
    return {"label": label, "site": site, "index": index} | {
        name: draw.standard_normal(n).round(3) for name in ("score", "value")
    }


def what_is_done(n, folder):
    """What is done with sets -> CPU seconds."""
    labels, sites = [f"l{number}" for number in range(LABELS)], [f"{layer}.inner" for layer in range(SITES)]
    seconds, given, done = {}, [columns(n, seed) for seed in (0, 1)], {}

    def timed(name, action):
        start = time.process_time()
        done[name] = action()
        seconds[name] = time.process_time() - start
        return done[name]

    one = timed("from columns", lambda: UnitSet.from_columns(labels, sites, **given[0]))
    other = UnitSet.from_columns(labels, sites, **given[1])
    timed("save", lambda: one.save_pretrained(folder))
    again = timed("load", lambda: UnitSet.from_pretrained(folder))
    timed("equal", lambda: again == one)
    timed("intersect", lambda: one & other)
    timed("unite", lambda: one | other)
    timed("subtract", lambda: one - other)
    timed("top", lambda: one.top(n // LABELS // 20))
    timed("top per layer", lambda: one.top(n // LABELS // SITES // 20, per_layer=True))
    timed("by site", one.by_site)
    timed("one label", lambda: one["l3"])
    check(n, one, other, done)
    return seconds


def check(n, one, other, done):
    """The parts fit together."""
    assert done["equal"]
    assert 0 < len(done["intersect"]) < n
    assert len(done["intersect"]) + len(done["subtract"]) == n
    assert done["unite"].columns.take(slice(0, n)).equals(one.columns)
    assert n < len(done["unite"]) < 2 * n
    assert len(done["top"]) == LABELS * (n // LABELS // 20)
    assert len(done["top per layer"]) == LABELS * SITES * (n // LABELS // SITES // 20)
    assert sum(map(len, done["by site"].values())) == n
    assert len(done["one label"]) == np.count_nonzero(one.columns.label == one.labels.index("l3"))
    assert other.columns.index.max() > 0


def chosen(n):
    """Choose units from the scores of every unit for every label, as `expert_ap` does -> CPU seconds."""
    import torch

    from xalign.finding.choice import choose_by
    from xalign.finding.detectors import Detectors
    from xalign.metrics.average_precision import average_precision
    from xalign.model.architectures.sites import Site

    detectors = Detectors(
        [f"l{number}" for number in range(LABELS)], average_precision, "both", "median", constant="none"
    )
    draw, width = torch.Generator().manual_seed(0), 2 * n // LABELS // SITES
    for layer in range(SITES):
        for number in range(LABELS):
            detectors._scores[number].append(torch.rand(width, generator=draw, dtype=torch.float64))
            detectors._values[number].append(torch.randn(width, generator=draw, dtype=torch.float64))
        detectors._constant.append(torch.zeros(width, dtype=torch.bool))
        detectors._widths[Site("inner", layer)] = width
    start = time.process_time()
    units = detectors.chosen(choose_by(share=0.5), {})
    assert len(units) == LABELS * round(0.5 * width * SITES)
    return time.process_time() - start


@pytest.mark.thorough
@pytest.mark.parametrize("n", [100_000, pytest.param(10_000_000, marks=pytest.mark.slow)])
def test_units_in_seconds_and_bounded_memory(tmp_path, n):
    """In a process of its own, whose peak of memory is that of the sets."""
    script = (
        "import sys; from tests.units.test_many_units import *\n"
        f"seconds = what_is_done({n}, sys.argv[1])\n"
        f"seconds['choose'] = chosen({n})\n"
        "print(1024 * int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])); print(seconds)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "units")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    peak, seconds = ran.stdout.strip().split("\n", 1)
    print(f"{n} units: peak {int(peak) / 2**30:.2f} GiB, {seconds}")
    slow = {name: taken for name, taken in eval(seconds).items() if taken > SECONDS[n]}
    assert not slow
    assert int(peak) < BASE + COPIES * 40 * n
