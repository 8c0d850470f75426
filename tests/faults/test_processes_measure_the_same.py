"""Processes that measure together are given the same, and what fails in one fails in all, or ends nothing."""

from pathlib import Path

import pytest
import torch

from tests.tiny import make_model
from tests.torchrun import torchrun
from xalign.results.history import History

pytestmark = [pytest.mark.distributed, pytest.mark.thorough]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("differing")
    ran = torchrun(Path(__file__).parent / "differing_worker.py", folder, cwd=folder, timeout=300)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return [torch.load(folder / f"found-{rank}.pt", weights_only=False) for rank in (0, 1)]


@pytest.mark.parametrize(
    ("case", "named"),
    [
        ("sentences", "pairs differs between processes"),
        ("languages", "pairs differs between processes"),
        ("budget", "token_budget differs between processes: 128 in process 0 and 64 in process 1"),
        ("template", "differs between processes"),
        ("metrics", "metrics differs between processes"),
        ("sites", "metrics differs between processes"),
        ("seed", "seed differs between processes: 0 in process 0 and 1 in process 1"),
        ("cadence", "every differs between processes: 10 in process 0 and 20 in process 1"),
        ("name", "name differs between processes"),
        ("at_end", "at_end differs between processes: True in process 0 and False in process 1"),
        ("keep_best", "keep_best differs between processes: 'nasca' in process 0 and None in process 1"),
    ],
)
def test_a_difference_is_an_error_in_all(case, named, found):
    """Other pairs or options in one process gave wrong numbers, or a run that hung."""
    assert found[0][case] == found[1][case]
    assert found[0][case].startswith("ArgumentError: ") and named in found[0][case]


def test_no_forward_comes_before(found):
    """The difference was noticed, if at all, by a collective that did not fit."""
    # Building a callback runs one sentence, after the comparison, and only where all are equal.
    assert [one["forward count before"] for one in found] == [0, 0]


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("a folder that one has not", "no-such-folder"),
        ("an option that one has not", "nonsense"),
        ("a metric that fails", "in this process only"),
        ("a context that fails", "cannot be entered here"),
    ],
)
def test_an_error_of_one_is_an_error_of_all(case, reason, found):
    """The others waited for the process that had failed, until a timeout ended the run."""
    assert "process 1 of 2 failed" in found[0][case] and reason in found[0][case]
    assert reason in found[1][case]


def test_all_are_in_step_afterwards(found):
    first, second = found
    assert first["same"] == second["same"] == first["alone"]


@pytest.mark.parametrize(
    "mode",
    [
        pytest.param("raise", marks=pytest.mark.slow),
        pytest.param("metric", marks=pytest.mark.slow),
        pytest.param("disk", marks=pytest.mark.slow),
        pytest.param("nan-fsdp", marks=pytest.mark.slow),
        pytest.param("nan-one-fsdp", marks=pytest.mark.slow),
    ],
)
def test_a_failure_in_one_process_does_not_end_the_run(mode, tmp_path):
    """An error in one process while it measured ended the run in all; with sharded weights, others hung."""
    make_model("llama", attention_dropout=0.2).save_pretrained(tmp_path / "model")
    ran = torchrun(Path(__file__).parent / "failing_worker.py", mode, tmp_path, cwd=tmp_path, timeout=300)
    assert ran.returncode == 0, ran.stderr[-3000:]
    first, second = (torch.load(tmp_path / f"found-{rank}.pt", weights_only=False) for rank in (0, 1))
    for found in (first, second):
        assert found["steps"] == ([0, 2, 4, 6] if mode == "disk" else [0, 4, 6])
        assert found["steps"] == [step for step, _ in found["reports"]]
        assert all(torch.equal(found["plain"][name], found["watched"][name]) for name in found["plain"])
    assert first["reports"] == second["reports"]
    assert first["missing"].get("measurements", []) == ([] if mode == "disk" else [2])
    said = [line for line in first["warned"] if "training goes on" in line]
    assert len(said) == 1
    assert not [line for line in second["warned"] if "training goes on" in line]
    if mode in ("raise", "metric"):
        assert "process 1 of 2 failed" in said[0]
    assert History.load(tmp_path / "watched").steps == ([0, 2, 4, 6] if mode == "disk" else [0, 4, 6])
