"""Engines: every task runs once, whatever dies, and one that fails does not stop the others."""

import os
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.sweep import fake_rank
from tests.sweep.cluster import make_cluster
from tests.tiny import ROOT
from xalign.errors import ArgumentError, ArgumentTypeError, MissingExtraError
from xalign.sweep.engines import ENGINES, Job
from xalign.sweep.engines.local import _environment


@pytest.fixture
def job(tmp_path):
    """Make a job whose workers only note what they are given."""
    said = {}

    def make(names, workers=2, **options):
        return Job(
            folder=tmp_path,
            names=list(names),
            workers=workers,
            here=lambda name: (_ for _ in ()).throw(ValueError("bad luck")) if "fails" in name else None,
            command=[sys.executable, str(Path(__file__).with_name("fake_worker.py")), str(tmp_path)],
            rank=partial(fake_rank.note, folder=str(tmp_path)),
            said=lambda name, error: said.update({name: error}),
            options=options,
        )

    make.said, make.folder = said, tmp_path
    return make


def begun(job):
    return sorted((job.folder / "begun").read_text().split())


@pytest.mark.parametrize("workers", [2, 3, 9])
def test_local_workers_run_each_task_once(job, workers):
    names = [f"m/{number}" for number in range(7)]
    ENGINES["local"].run(job(names, workers))
    assert job.said == dict.fromkeys(names)
    assert begun(job) == names
    assert len(list(job.folder.glob("worker-*.log"))) == min(workers, 7)


def test_a_killed_worker_is_replaced_and_its_task_tried_once_more(job):
    names = ["m/0", "killed_once/1", "m/2", "m/3"]
    ENGINES["local"].run(job(names))
    assert job.said == dict.fromkeys(names)
    assert begun(job) == sorted([*names, "killed_once/1"])


def test_what_kills_or_fails_does_not_stop_the_others(job):
    names = ["killed/0", "exits/1", "fails/2", "m/3", "m/4"]
    ENGINES["local"].run(job(names))
    assert job.said.pop("m/3") is None and job.said.pop("m/4") is None
    assert job.said["fails/2"] == "bad luck"
    assert "its worker ended with SIGKILL, 2 times" in job.said["killed/0"]
    assert "its worker ended with exit code 3, 2 times" in job.said["exits/1"]


def test_one_worker_is_this_process(job):
    ENGINES["local"].run(job(["m/0", "fails/1", "m/2"], workers=1))
    assert job.said == {"m/0": None, "fails/1": "ValueError: bad luck", "m/2": None}


def test_each_local_worker_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6,7")
    assert [_environment(number)["CUDA_VISIBLE_DEVICES"] for number in range(4)] == ["4", "6", "7", "4"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4")
    assert _environment(1)["CUDA_VISIBLE_DEVICES"] == "4"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert [_environment(number)["CUDA_VISIBLE_DEVICES"] for number in range(3)] == ["0", "1", "0"]


def test_slurm_submits_an_array_with_a_job_per_task(job, tmp_path, monkeypatch):
    for name, value in make_cluster(tmp_path / "cluster").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    ENGINES["slurm"].run(job(["m/0", "m/1", "m/2"], partition="cpu", time="1:00:00", cpus_per_task=2))
    assert sorted(path.name for path in tmp_path.glob("rank-*")) == ["rank-0-of-3", "rank-2-of-3"]
    assert (tmp_path / "cluster" / "codes").read_text() == "0 1 0\n"  # and no job after the array
    script = (tmp_path / "datatrove" / "launch_script.slurm").read_text()
    for line in ("--array=0-2%2", "--partition=cpu", "--cpus-per-task=2", "--job-name=xalign-sweep"):
        assert f"#SBATCH {line}\n" in script


@pytest.mark.parametrize(
    ("engine", "options", "error", "message"),
    [
        (
            "local",
            {"partition": "cpu"},
            ArgumentTypeError,
            "engine_options of local has no option 'partition'",
        ),
        ("slurm", {"partition": "cpu"}, ArgumentError, "engine_options of slurm: time must be given"),
        ("slurm", {"partitoin": "cpu"}, ArgumentTypeError, "did you mean partition?"),
        ("slurm", {"skip_completed": True}, ArgumentTypeError, "has no option 'skip_completed'"),
        ("slurm", {"partition": "cpu", "time": "1"}, ArgumentError, "sbatch is not on the PATH"),
    ],
)
def test_mistakes(job, engine, options, error, message, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(error, match=message.replace("?", r"\?")):
        ENGINES[engine].run(job(["m/0"], **options))


def test_inside_an_array_nothing_is_submitted(job, monkeypatch):
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    with pytest.raises(ArgumentError, match="inside a job of an array"):
        ENGINES["slurm"].run(job(["m/0"], partition="cpu", time="1"))


@pytest.mark.parametrize(("engine", "module"), [("slurm", "datatrove"), ("ray", "datatrove"), ("ray", "ray")])
def test_what_is_not_installed_is_said(job, engine, module, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == module or "slurm_array" in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    if module == "datatrove":
        monkeypatch.setitem(sys.modules, "datatrove.executor", None)
    with pytest.raises(MissingExtraError, match=rf"needs {module}: pip install .*scale"):
        ENGINES[engine].run(job(["m/0"]))
