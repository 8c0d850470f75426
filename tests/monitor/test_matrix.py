"""The callback changes nothing, whatever the trainer, the weights, the settings and the launch.

docs/support.md is made from these tests' ids and results: `python -m tests.monitor.support`.
"""

from pathlib import Path

import pytest
import torch

from tests.monitor.cells import all_pairs, is_quick, name_of, prepare, run_cell, whole_matrix
from tests.monitor.support import PAGE, cells_on
from tests.monitor.training import equal_to_the_bit
from tests.torchrun import torchrun
from tests.versions.require import require

pytestmark = pytest.mark.filterwarnings("ignore")  # trainers warn of what they are asked to do here

COVERING, REST = all_pairs(), whole_matrix()
CELLS = [
    pytest.param(cell, id=name_of(cell), marks=[] if is_quick(cell) else [pytest.mark.slow])
    for cell in COVERING + REST
]


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """The cells of two processes, one launch for all of a kind that are asked for: starting costs most."""
    found = {}

    def launch(cell):
        if cell not in found:
            together = [one for one in (COVERING if cell in COVERING else REST) if one[-1] == cell[-1]]
            folder = tmp_path_factory.mktemp(cell[-1])
            for number in range(len(together)):
                prepare(folder / str(number))
            worker = Path(__file__).parent / "cells_worker.py"
            ran = torchrun(worker, folder, *map(name_of, together), timeout=1200, cwd=folder)
            assert ran.returncode == 0, ran.stderr[-3000:]
            for number, one in enumerate(together):
                files = [folder / str(number) / f"found-{rank}.pt" for rank in (0, 1)]
                found[one] = [torch.load(file, weights_only=False) for file in files]
        return found[cell]

    return launch


def test_the_matrix_is_what_it_says():
    assert len(COVERING) <= 24
    assert len({name_of(cell) for cell in COVERING + REST}) == len(COVERING) + len(REST)


@pytest.mark.thorough
@pytest.mark.parametrize("cell", CELLS)
def test_observe_only(cell, launched, tmp_path):
    """Losses and final weights are equal to the bit with and without the callback."""
    trainer, weights, _, _, precision, compiled, launch = cell
    if (trainer, weights, precision) == ("DPO", "QLoRA", "bf16"):
        require("its DPO casts a four-bit model, which then runs only inside its own autocast", trl="1.0")
    found = [run_cell(cell, prepare(tmp_path))] if launch == "one" else launched(cell)
    for one in found:
        assert "error" not in one, one["error"][-3000:]
        assert one["moved"] and one["random"]  # not vacuous: it learns, and draws random numbers
        assert one["world"] == (1 if launch == "one" else 2)
        assert one["sharded"] == (launch == "FSDP2")
        assert one["compiled"] == (compiled != "eager")
        assert one["steps"] == [0, 1, 2]
        assert len(set(one["margins"])) > 1  # it saw the weights change
        assert one["has_base"] == (weights != "full")
        assert len(one["plain"].rows) >= 2
        assert equal_to_the_bit(one["plain"], one["watched"])
    assert len({tuple(one["margins"]) for one in found}) == 1


def test_the_page_says_what_was_run():
    """Each cell of docs/support.md is a test of this file that passed, and each test stands there."""
    cells = cells_on(PAGE.read_text(encoding="utf-8"))
    assert set(cells) == {name_of(cell) for cell in COVERING + REST}
    assert set(cells.values()) == {"run"}
