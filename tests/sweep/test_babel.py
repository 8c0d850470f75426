"""Sixteen checkpoints of Babel: whatever is killed, the table is that of a serial sweep to the bit."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml

from tests.sweep.cluster import make_cluster
from tests.tiny import ROOT
from xalign.babel import load_babel, write_pairs

STEPS = range(100, 1700, 100)
XALIGN = [sys.executable, "-c", "from xalign.cli import main; main()"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A folder with the run, its specs and the serial table."""
    folder = tmp_path_factory.mktemp("babel")
    pairs = write_pairs(30, seed=0, split="held_out")
    codes = [pairs.pivot, *pairs.languages]
    rows = zip(*(pairs.texts[code] for code in codes), strict=True)
    lines = ["\t".join(codes), *map("\t".join, rows)]
    (folder / "pairs.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (aligned, tokenizer), (model, _) = load_babel("aligned"), load_babel("unaligned")
    start = {name: value.clone() for name, value in model.named_parameters()}
    for step in STEPS:
        share = (step - STEPS[0]) / (STEPS[-1] - STEPS[0])
        with torch.no_grad():
            for (name, value), end in zip(model.named_parameters(), aligned.parameters(), strict=True):
                value.copy_(start[name].lerp(end, share))
        place = folder / "run" / f"checkpoint-{step}"
        model.save_pretrained(place)
        tokenizer.save_pretrained(place)
        (place / "trainer_state.json").write_text("{}")
    spec = {
        "models": [{"model": "run", "checkpoints": "all"}],
        "pairs": {"held_out": {"pairs": "pairs.tsv"}},
        "metrics": ["nasca", "mexa"],
        "options": {"template": "{text} <sep>", "template_pooled": True},
        "device": "cpu",
        "out": "serial",
        "engine_options": {},
    }
    slurm = {"engine": "slurm", "engine_options": {"partition": "cpu", "time": "1:00:00"}}
    (folder / "sweep.yaml").write_text(yaml.safe_dump(spec))
    (folder / "slurm.yaml").write_text(yaml.safe_dump(spec | slurm))
    done = sweep(folder, "sweep.yaml", "--out", "serial")
    assert "16 measured, 0 done before, 0 failed" in done.stdout, done.stderr
    return folder


def sweep(folder, *arguments, **variables):
    return subprocess.run(
        [*XALIGN, "sweep", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | variables,
        capture_output=True,
        text=True,
        timeout=900,
    )


def begin(folder, *arguments):
    return subprocess.Popen(
        [*XALIGN, "sweep", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def workers_of(process):
    """The processes that a command has started, from the system's list of them."""
    found = []
    for number in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{number}/stat") as file:
                parent = int(file.read().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == process.pid:
            found.append(int(number))
    return found


def reports(out):
    """What tells each report that was written from another."""
    return {
        path.parent.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in out.rglob("report.json")
    }


def measured(out):
    """The tasks that workers say they have measured, in all logs."""
    logs = "".join(path.read_text() for path in sorted(out.rglob("worker-*.log")))
    return re.findall(r"measured (\S+) on held_out", logs)


def test_a_killed_worker_and_a_killed_sweep(swept):
    with begin(swept, "sweep.yaml", "--out", "workers", "--workers", "2") as running:
        for _ in range(3):
            running.stdout.readline()  # of a task that is done
        workers = workers_of(running)
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        for _ in range(2):
            assert running.stdout.readline().endswith(": measured\n")  # it was replaced
        orphans = workers_of(running)
        assert len(orphans) == 2 and workers[0] not in orphans
        running.kill()
        running.wait()
        os.kill(orphans[0], signal.SIGKILL)  # the other one ends when it has measured its task
    before = reports(swept / "workers")
    assert 5 <= len(before) < 16
    done = sweep(swept, "sweep.yaml", "--out", "workers", "--workers", "2")
    assert done.returncode == 0, done.stderr
    after = reports(swept / "workers")
    assert {name: after[name] for name in before} == before and len(after) == 16
    assert (swept / "workers" / "table.parquet").read_bytes() == (
        swept / "serial" / "table.parquet"
    ).read_bytes()
    said = measured(swept / "workers")
    assert len(said) == len(set(said)) >= 14  # one that is killed between saving and saying has said nothing


def test_an_array_of_which_a_job_is_killed(swept, tmp_path):
    variables = make_cluster(tmp_path / "cluster")
    with subprocess.Popen(
        [*XALIGN, "sweep", "slurm.yaml", "--out", "array", "--workers", "2"],
        cwd=swept,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        while not (swept / "array" / "run" / ".step-00000300.lock").exists():
            assert running.poll() is None, running.stderr.read()
            time.sleep(0.05)
        (job,) = [
            int(number)
            for number in filter(str.isdecimal, os.listdir("/proc"))
            if b"launch_pickled_pipeline" in command_of(number) and b"python" in command_of(number)
        ]
        os.kill(job, signal.SIGKILL)
        said, _ = running.communicate(timeout=900)
    assert running.returncode == 0 and "16 submitted" in said
    codes = (tmp_path / "cluster" / "codes").read_text().split()
    assert len(codes) == 16 and codes.count("0") == 15 and codes[2] != "0"
    before = reports(swept / "array")
    assert len(before) == 15
    again = sweep(swept, "slurm.yaml", "--out", "array", **variables)
    assert again.returncode == 0 and "15 done before" in again.stdout and "1 submitted" in again.stdout
    after = reports(swept / "array")
    assert {name: after[name] for name in before} == before and len(after) == 16
    done = subprocess.run(
        [*XALIGN, "collect", "array"], cwd=swept, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0
    assert (swept / "array" / "table.parquet").read_bytes() == (
        swept / "serial" / "table.parquet"
    ).read_bytes()


def command_of(number):
    try:
        with open(f"/proc/{number}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""
