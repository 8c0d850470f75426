"""Runs that are killed and resumed have the history of one that was not."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.monitor.resumed import train
from tests.tiny import ROOT
from xalign import AlignmentReport
from xalign.results.history import History

pytestmark = pytest.mark.filterwarnings("ignore")  # a killed run left half a line, and it is said
EVERY_STEP = [0, 2, 3, 4, 6, 8, 9, 10, 12]


def killed(folder, kill_at, *options):
    """How a run in a process of its own ended."""
    command = [sys.executable, str(Path(__file__).parent / "resumed.py"), str(folder), str(kill_at), *options]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert ran.returncode == -9, (kill_at, ran.returncode, ran.stderr[-1500:])


def logged(folder):
    state = json.loads((folder / "checkpoint-12" / "trainer_state.json").read_text())
    rows = [row for row in state["log_history"] if "eval_nasca" in row]
    return [(row["step"], row["eval_nasca"], row["eval_nasca_deu_Latn"]) for row in rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that was not killed, and how many moments it has."""
    folder = tmp_path_factory.mktemp("whole")
    moments = train(folder)
    history = History.load(folder)
    assert history.steps == EVERY_STEP
    margins = [row["value"] for row in history.to_rows() if row["metric"] == "margin"]
    assert len(set(margins)) == len(margins)
    assert moments > 30
    return folder, moments


def check_killed(folder, whole, seed):
    whole, moments = whole
    kill_at = random.Random(seed).randint(2, moments)
    killed(folder, kill_at)
    train(folder)
    assert History.load(folder).to_rows() == History.load(whole).to_rows(), kill_at
    assert logged(folder) == logged(whole), kill_at
    last = AlignmentReport.load(folder / "alignment" / "step-00000012")
    assert last.to_rows() == AlignmentReport.load(whole / "alignment" / "step-00000012").to_rows()


@pytest.mark.thorough
@pytest.mark.parametrize("seed", [0, pytest.param(3, marks=pytest.mark.slow)])
def test_killed_and_resumed(seed, whole, tmp_path):
    check_killed(tmp_path / "run", whole, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, *range(4, 25)])
def test_killed_and_resumed_at_many_moments(seed, whole, tmp_path):
    check_killed(tmp_path / "run", whole, seed)


@pytest.mark.slow
def test_a_checkpoint_written_without_the_callback_resumes_too(whole, tmp_path):
    killed(tmp_path / "run", 20, "--without")
    assert list((tmp_path / "run").glob("checkpoint-*"))
    train(tmp_path / "run")
    history = History.load(tmp_path / "run")
    first = history.steps[0]
    assert first > 0
    assert history.steps == [step for step in EVERY_STEP if step >= first]
    expected = [row for row in History.load(whole[0]).to_rows() if row["step"] >= first]
    assert history.to_rows() == expected
