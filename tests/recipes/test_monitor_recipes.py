"""The loops that recipes/ shows, run as their users run them."""

import os
import subprocess
import sys

import pytest

from tests.recipes.here import run_here
from tests.tiny import ROOT, make_model, make_tokenizer
from tests.torchrun import torchrun
from xalign import AlignmentReport, load_pairs
from xalign.results.history import History


@pytest.fixture
def model_folder(tmp_path):
    make_model("llama").save_pretrained(tmp_path / "model")
    make_tokenizer().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def run(recipe, *arguments, processes):
    """Run a recipe in processes of its own, and return what it printed."""
    script = ROOT / "recipes" / f"{recipe}.py"
    if processes > 1:
        watched = ROOT / "tests" / "recipes" / "no_thread_left.py"
        ran = torchrun(watched, script, *arguments, processes=processes, timeout=300)
    else:
        command = [sys.executable, str(script), *map(str, arguments)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        ran = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return ran.stdout


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore")
def test_a_plain_loop_goes_on_where_it_stopped(model_folder, tmp_path):
    common = ("--model", model_folder, "--every", 2, "--batch_size", 2)
    run_here("monitor_plain_loop", "--output_dir", tmp_path / "whole", "--steps", 6, *common)
    whole = History.load(tmp_path / "whole")
    assert whole.steps == [0, 2, 4, 6]
    run_here("monitor_plain_loop", "--output_dir", tmp_path / "parts", "--steps", 3, *common)
    parts = History.load(tmp_path / "parts")
    assert parts.steps == [0, 2, 3]  # the last step is measured, and kept
    printed = run_here("monitor_plain_loop", "--output_dir", tmp_path / "parts", "--steps", 6, *common)
    assert f"resuming from {tmp_path / 'parts' / 'checkpoint-3'}, step 3" in printed
    assert "4 entries, steps 0 to 6" in printed
    assert History.load(tmp_path / "parts").to_rows() == whole.to_rows()


@pytest.mark.distributed
@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_loop_under_accelerate(processes, model_folder, tmp_path):
    given = ("--output_dir", tmp_path / "out", "--model", model_folder, "--steps", 4, "--every", 2, "--cpu")
    printed = run("monitor_accelerate", *given, processes=processes)
    assert f"processes: {processes} rank 0 wrote" in printed
    assert History.load(tmp_path / "out").steps == [0, 2, 4]
    last = AlignmentReport.load(tmp_path / "out" / "alignment" / "step-00000004")
    assert last.pairs.fingerprint == load_pairs("bundled").split(0.5, seed=0)[0].fingerprint
