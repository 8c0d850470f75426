"""Benchmarks of speed and memory run, on tiny models, and write down what they were run with."""

import json
import runpy
import sys

import pytest
import torch

from tests.benchmark_modules import benchmark
from tests.tiny import ROOT

FOLDER = ROOT / "benchmarks"
SMOKES = {
    "against_reference": [],
    "alignment_step": [],
    "average_precision": [],
    "gpu": ["--device", "cpu"],
    "language_neuron_speed": [],
    "measure_overhead": [],
    "padding": ["--runs", "1"],
    "transport_step": [],
    "vector_extraction": [],
}
LONGER = ("callback_share", "memory", "scaling")  # whole runs of a trainer, and processes of their own


@pytest.mark.thorough
@pytest.mark.parametrize("name", [*SMOKES, *(pytest.param(one, marks=pytest.mark.slow) for one in LONGER)])
@pytest.mark.filterwarnings("ignore")
def test_a_benchmark_runs(name, monkeypatch, tmp_path):
    threads = torch.get_num_threads()
    monkeypatch.syspath_prepend(str(FOLDER))
    out = tmp_path / "result.json"
    monkeypatch.setattr(sys, "argv", [name, "--smoke", *SMOKES.get(name, []), "--out", str(out)])
    try:
        runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    finally:
        torch.set_num_threads(threads)
    result = json.loads(out.read_text(encoding="utf-8"))
    assert result["machine"]["torch"] == torch.__version__
    assert len(result) > 1


@pytest.mark.parametrize("name", ["performance_page", "scale"])
def test_a_page_holds_what_its_program_makes(name):
    program = benchmark(name)
    page = program.PAGE.read_text(encoding="utf-8")
    assert program.updated(page) == page
