"""Two processes measure as one does, to the bit, and fail as one does."""

import re
from pathlib import Path

import pytest
import torch

from tests.tiny import make_model, make_tokenizer
from tests.torchrun import torchrun
from tests.versions.require import is_older, require
from xalign import load_pairs, measure
from xalign.results.history import History

pytestmark = [pytest.mark.distributed, pytest.mark.thorough]


def launch(folder, *modes):
    """Run modes in one launch, and return how it ended and what each process found in each mode."""
    make_model("llama", attention_dropout=0.2).save_pretrained(folder / "model")
    ran = torchrun(Path(__file__).parent / "worker.py", folder, *modes, cwd=folder)
    files = {mode: [folder / mode / f"found-{rank}.pt" for rank in (0, 1)] for mode in modes}
    return ran, {
        mode: [torch.load(file, weights_only=False) if file.exists() else None for file in both]
        for mode, both in files.items()
    }


SHARDING = {"transformers": "5.23"}


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """A run under DDP, one with sharded weights, and two in which one process fails while it measures."""
    folder = tmp_path_factory.mktemp("runs")
    modes = ["ddp", *([] if is_older(**SHARDING) else ["fsdp"]), "oom", "raise"]
    ran, found = launch(folder, *modes)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return folder, found


@pytest.fixture(scope="module", params=["ddp", "fsdp"])
def trained(request, processes):
    if request.param == "fsdp":
        require("it does not train sharded weights on CPUs by itself", **SHARDING)
    folder, found = processes
    return folder / request.param, found[request.param]


def losses(rows):
    return [
        (row["step"], row[key]) for row in rows for key in ("loss", "grad_norm", "eval_loss") if key in row
    ]


def test_losses_and_weights_are_those_without_it(trained):
    _, (first, second) = trained
    for found in (first, second):
        (rows, weights), (watched_rows, watched_weights) = found["plain"], found["watched"]
        assert len(losses(rows)) == 14
        assert losses(rows) == losses(watched_rows)
        assert all(torch.equal(weights[name], watched_weights[name]) for name in weights)


def test_both_have_the_report_of_one_process(trained):
    folder, (first, second) = trained
    assert [step for step, _ in first["reports"]] == [0, 2, 3, 4, 6]
    assert first["reports"] == second["reports"]
    values = [[row["value"] for row in rows] for _, rows in first["reports"]]
    assert len(set(map(tuple, values))) == 5  # it saw the weights change
    model = make_model("llama")
    model.load_state_dict(first["watched"][1], strict=False)
    model.tie_weights()
    pairs = load_pairs("bundled", ["deu_Latn", "spa_Latn"], n=12)
    single = measure(model, make_tokenizer(), pairs, ["nasca", "margin"], token_budget=128, step=6)
    assert first["reports"][-1][1] == single.to_rows()
    assert first["alone"] == [row | {"step": None} for row in single.to_rows()]


def test_every_process_runs_as_many_forwards_and_the_first_writes(trained):
    folder, (first, second) = trained
    assert first["measuring_forwards"] == second["measuring_forwards"] > 0
    steps = (0, 2, 3, 4, 6)
    assert first["files"] == [f"watched/alignment/step-{step:08d}/report.json" for step in steps]
    assert History.load(folder / "watched").steps == list(steps)
    logged, elsewhere = (
        [
            {key: value for key, value in row.items() if "nasca" in key or "margin" in key or key == "step"}
            for row in found["watched"][0]
            if "eval_nasca" in row
        ]
        for found in (first, second)
    )
    assert [row["step"] for row in logged] == list(steps)
    assert logged == elsewhere  # what selects the best model and stops is the same in both


def test_out_of_memory_in_one_process_changes_no_value(processes):
    first, second = processes[1]["oom"]
    assert first["reports"] == second["reports"]
    assert [step for step, _ in first["reports"]] == [0, 2, 4, 6]
    said = [line for line in second["warned"] if "run in halves" in line]
    assert said and not any("run in halves" in line for line in first["warned"])
    model = make_model("llama")
    model.load_state_dict(first["weights"], strict=False)
    pairs = load_pairs("bundled", ["deu_Latn", "spa_Latn"], n=12)
    single = measure(model, make_tokenizer(), pairs, ["nasca", "margin"], token_budget=128, step=6)
    for ours, theirs in zip(first["reports"][-1][1], single.to_rows(), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-6)  # the margin is a real number; bits are equal
        assert ours["metric"] == "margin" or ours == theirs


def test_an_error_in_one_process_is_said_in_all_and_the_run_goes_on(processes):
    first, second = processes[1]["raise"]
    assert "error" not in first and "error" not in second
    assert [step for step, _ in first["reports"]] == [step for step, _ in second["reports"]] == [0]
    said = [line for line in first["warned"] if "the cable was cut" in line]
    assert len(said) == 1 and "process 1 of 2 failed: RuntimeError: the cable was cut" in said[0]


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_run(tmp_path):
    ran, found = launch(tmp_path, "kill")
    first, second = found["kill"]
    assert ran.returncode != 0
    assert first is None and second is None
    assert re.search(r"exitcode\s*: -9", ran.stderr)
