"""Runs of other frameworks, each by its own command, on a tiny model and a few sentences."""

import json
import os
import subprocess
import sys
from pathlib import Path

from safetensors.torch import load_file

from tests.monitor.training import DROPOUT, SENTENCES
from tests.tiny import ROOT, make_model, make_tokenizer

STEPS = 20
CHAT = "{% for message in messages %}{{ bos_token }}{{ message['content'] }}{{ eos_token }}{% endfor %}"
# What a run's log has that another equal one need not have.
OF_THIS_RUN = (
    "runtime",
    "per_second",
    "time",
    "memory",
    "alignment",
    "nasca",
    "tps",
    "tokens",
    "flos",
    "ppl",
)


def save_world(folder):
    """Save a tiny Llama with its tokenizer, and instructions to train on."""
    model, tokenizer = make_model("llama", **DROPOUT), make_tokenizer()
    tokenizer.chat_template = CHAT
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    lines = [
        {"instruction": "Schreib einen Satz.", "input": "", "output": sentence} for sentence in SENTENCES
    ]
    (folder / "data").mkdir()
    (folder / "data" / "train.json").write_text(json.dumps(lines, ensure_ascii=False), encoding="utf-8")
    return folder


def command(*arguments, cwd, fails=False, **variables):
    """Run a command of Python, and return what it printed."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""} | variables
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    said = f"{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
    assert (done.returncode != 0) is fails, said
    return said


def log_of(folder: Path):
    """The log of the last checkpoint of a run."""
    states = [folder / "trainer_state.json", *folder.rglob("checkpoint-*/trainer_state.json")]
    return json.loads(next(one for one in states if one.exists()).read_text())["log_history"]


def check_equal(without: Path, with_it: Path, steps=(0, 10, STEPS)):
    """Losses and weights of two runs are equal to the bit, and one has alignment in its rows."""
    plain, observed = ([own(row) for row in log_of(folder)] for folder in (without, with_it))
    assert [row for row in plain if row] == [row for row in observed if row]
    losses = [row["loss"] for row in plain if "loss" in row]
    assert len(losses) == STEPS and len(set(losses)) > STEPS / 2
    one, other = (weights_of(folder) for folder in (without, with_it))
    assert one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)
    measured = [row["step"] for row in log_of(with_it) if "eval_nasca_deu_Latn" in row]
    assert measured == list(steps)
    assert not any("nasca" in key for row in log_of(without) for key in row)
    lines = (with_it / "alignment" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines if '"step"' in line] == list(steps)


def own(row):
    """A row without times and without alignment."""
    row = {key: value for key, value in row.items() if not any(part in key for part in OF_THIS_RUN)}
    return row if row.keys() - {"epoch", "step"} else {}


def weights_of(folder: Path):
    """The weights at the end of a run."""
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.rglob(f"checkpoint-{STEPS}/*.safetensors"))
    assert files, list(folder.rglob("*"))
    return {name: value for file in files for name, value in load_file(file).items()}
