"""`keep_best` deletes only what it made itself, and leaves a whole best checkpoint at every moment."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import xalign.files as files
import xalign.monitor.own_checkpoints as own_checkpoints
from tests.monitor.test_callback import script
from tests.monitor.training import make_trainer
from tests.quick import one_in
from tests.tiny import ROOT
from xalign import AlignmentCallback, load_pairs
from xalign.errors import ArgumentError
from xalign.monitor.own_checkpoints import OwnCheckpoints

RUN = {"evaluate": False, "max_steps": 6}


def checkpoints(folder="run"):
    return sorted(path.name for path in Path(folder).glob("checkpoint-*"))


def watched(scores, folder="run", harm=None, **changes):
    trainer = make_trainer(folder=folder, **RUN | changes)
    callback = AlignmentCallback(
        trainer, load_pairs("bundled", ["deu_Latn"], n=4), every=1, keep_best="nasca", save_reports=False
    )
    trainer.add_callback(callback)
    script(callback, "nasca", scores)
    return trainer


def harming(trainer, at, harm):
    """Does something between two steps of a run."""
    step = trainer.training_step
    seen = []

    def stepping(*args, **kwargs):
        if trainer.state.global_step == at and not seen:
            seen.append(at)
            harm()
        return step(*args, **kwargs)

    trainer.training_step = stepping
    return trainer


SCORES = [0.1, 0.2, 0.3, 0.1, 0.5, 0.1, 0.6]  # best at 1, 2, 4 and 6


def copy():
    shutil.copytree("run/checkpoint-2", "run/checkpoint-99")


def copy_in_place():
    shutil.move("run/checkpoint-2", "elsewhere")
    shutil.copytree("elsewhere", "run/checkpoint-2")


def other_folder():
    shutil.rmtree("run/checkpoint-2")
    Path("run/checkpoint-2").mkdir()
    Path("run/checkpoint-2/mine").write_text("mine")


def notes():
    Path("run/checkpoint-2/notes.txt").write_text("the best so far")


def edited():
    Path("run/checkpoint-2/config.json").write_text("{}")


def link():
    shutil.move("run/checkpoint-2", "elsewhere")
    Path("run/checkpoint-2").symlink_to(Path("elsewhere").absolute())


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("harm", "stays"),
    [
        (copy, ["checkpoint-99"]),
        (copy_in_place, ["checkpoint-2"]),
        (other_folder, ["checkpoint-2"]),
        (notes, ["checkpoint-2"]),
        (edited, ["checkpoint-2"]),
        (link, ["checkpoint-2"]),
        (lambda: None, []),
    ],
    ids=["copy", "copy in place", "other folder", "notes", "edited", "link", "nothing"],
)
def test_what_the_user_made_stays(harm, stays):
    """A mark inside the folder was taken for ours: a user's copy of a checkpoint was deleted."""
    harming(watched(SCORES), 3, harm).train()
    assert checkpoints() == sorted([*stays, "checkpoint-6"])
    if harm is link:
        assert Path("elsewhere/config.json").exists()


@pytest.mark.filterwarnings("ignore:.*held the measurements of an earlier run")
def test_a_run_that_begins_anew_spares_what_an_earlier_one_kept():
    """A second run in one folder overwrote the best checkpoint of the first, at the same step."""
    watched(SCORES[:3], max_steps=2).train()
    weights = Path("run/checkpoint-2/model.safetensors").read_bytes()
    second = watched([0.1, 0.2, 0.3], max_steps=2, seed=7)
    with pytest.warns(UserWarning, match="the best checkpoint that an earlier run kept is in run/_earlier-1"):
        second.train()
    assert Path("run/_earlier-1/checkpoint-2/model.safetensors").read_bytes() == weights
    assert checkpoints() == ["checkpoint-2"]
    assert Path("run/checkpoint-2/model.safetensors").read_bytes() != weights


def test_a_checkpoint_of_somebody_else_is_not_overwritten():
    """The best so far was saved over whatever had the name of its step."""
    trainer = watched([0.1, 0.2, 0.9, 0.3, 0.95, 0.1, 0.1])
    foreign = Path("run/checkpoint-2")
    foreign.mkdir(parents=True)
    (foreign / "mine").write_text("mine")
    with pytest.warns(UserWarning, match="best so far is not saved.*checkpoint-2 is there already"):
        trainer.train()
    assert [path.name for path in foreign.iterdir()] == ["mine"]
    assert checkpoints() == ["checkpoint-2", "checkpoint-4"]
    assert trainer.state.best_model_checkpoint == "run/checkpoint-4"


HOLDER = """
import sys, time
from pathlib import Path
from xalign.monitor.own_checkpoints import OwnCheckpoints
own = OwnCheckpoints(Path("run"), Path("run/alignment"))
assert own.lock()
print("held", flush=True)
time.sleep(60)
"""


@pytest.mark.thorough
def test_two_runs_at_one_time_do_not_share_a_folder(monkeypatch):
    """Two live runs with keep_best in one folder overwrote and deleted each other's checkpoints."""
    monkeypatch.setattr(own_checkpoints, "PATIENCE", 0.5)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, env=environment) as holder:
        try:
            assert holder.stdout.readline() == b"held\n"
            trainer = watched(SCORES)
            with pytest.raises(
                ArgumentError, match="keep_best='nasca': another run keeps its best checkpoint"
            ):
                trainer.train()
            assert trainer.state.global_step == 0
        finally:
            holder.kill()
    watched(SCORES).train()  # the lock ends with its process
    assert checkpoints() == ["checkpoint-6"]


@pytest.mark.thorough
@pytest.mark.parametrize("text", ["", "garbage", "[]", '{"schema_version": 2}', '{"schema_version": 1}'])
def test_a_list_that_is_broken_lists_nothing(text):
    """What cannot be known to be ours stays."""
    watched(SCORES[:3], max_steps=2, save_strategy="steps", save_steps=1).train()
    Path("run/alignment/keep_best.json").write_text(text)
    second = watched(SCORES[3:], save_strategy="steps", save_steps=1, max_steps=3)
    with pytest.warns(UserWarning, match="what was kept as the best before cannot be known"):
        second.train(resume_from_checkpoint="run/checkpoint-2")
    assert "checkpoint-2" in checkpoints()


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["checkpoint-1", "checkpoint-x", "..", "inode", "files"]), inner
            )
        ),
        max_leaves=8,
    )
)
def test_no_list_leads_to_a_deletion_of_what_is_there(kept):
    """A list of any shape names nothing that is not exactly as it was saved."""
    import tempfile

    with tempfile.TemporaryDirectory() as run:
        for name in ("checkpoint-1", "checkpoint-x", "alignment"):
            Path(run, name).mkdir()
            Path(run, name, "file").write_text(name)
        Path(run, "alignment/keep_best.json").write_text(json.dumps({"schema_version": 1, "kept": kept}))
        own = OwnCheckpoints(Path(run), Path(run, "alignment"))
        try:
            own.read()
        except Exception:
            assert own._found == {}
        own.delete_before("checkpoint-9", 9)
        assert {path.name for path in Path(run).iterdir()} == {"checkpoint-1", "checkpoint-x", "alignment"}


@pytest.mark.parametrize(
    "change",
    [
        lambda was: {"inode": was["inode"]},
        lambda was: was | {"inode": float(was["inode"])},
        lambda was: was | {"files": None},
        lambda was: was | {"more": 1},
    ],
    ids=["no files", "a float", "null", "an unknown field"],
)
def test_a_list_with_a_wrong_field_lists_nothing(change, tmp_path):
    """Only the inode was asked for, and in any type: what was half deleted by its word was deleted."""
    own = OwnCheckpoints(tmp_path, tmp_path / "alignment")
    folder = tmp_path / "_deleting-checkpoint-1"
    folder.mkdir()
    (folder / "mine").write_text("mine")
    was = {"inode": folder.stat().st_ino, "files": {}}
    own.folder.mkdir()
    record = own.folder / "keep_best.json"
    record.write_text(json.dumps({"schema_version": 1, "kept": {"checkpoint-1": change(was)}}))
    with pytest.raises(ArgumentError, match="kept"):
        own.read()
    assert folder.exists() and own._found == {}
    record.write_text(json.dumps({"schema_version": 1, "kept": {"checkpoint-1": was}}))
    own.read()
    assert not folder.exists()  # the list as it is written is obeyed


def test_a_list_is_read_as_it_was_written(tmp_path):
    """Names and inodes of any kind come back."""
    saved, own = (OwnCheckpoints(tmp_path, tmp_path / "alignment") for _ in range(2))
    for name in ("checkpoint-1", "checkpoint-20"):
        token = saved.announce(name)
        (tmp_path / name).mkdir()
        (tmp_path / name / "größe \n.bin").write_bytes(b"12")
        (tmp_path / name / "trainer_state.json").write_text(token)
    saved.confirm("checkpoint-20")
    own.read()
    assert own._found["checkpoint-20"] == saved._found["checkpoint-20"] is not None
    assert own._found["checkpoint-1"] is not None  # the run ended before it was noted
    assert own.is_free("checkpoint-20") and own.is_free("checkpoint-3")


@pytest.mark.parametrize("names", [["precious"], ["trainer_state.json"], ["model.safetensors", "mine"], []])
def test_what_somebody_else_saves_under_an_announced_name_stays(names, tmp_path):
    """A run was killed before it saved what it had announced; the next one took any folder for it."""
    killed, own = (OwnCheckpoints(tmp_path, tmp_path / "alignment") for _ in range(2))
    killed.announce("checkpoint-100")
    folder = tmp_path / "checkpoint-100"
    folder.mkdir()
    for name in names:
        (folder / name).write_text("mine")
    own.read()
    assert own.is_free("checkpoint-100") == ("trainer_state.json" not in names)
    own.delete_before("checkpoint-200", 200)
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    assert not own.is_free("checkpoint-100")


@pytest.mark.parametrize("mine", [True, False])
def test_a_save_that_broke_off_is_replaced_and_then_ours(mine, tmp_path):
    """What the second save writes anew is ours; what it leaves as it was makes the folder another's."""
    killed, own = (OwnCheckpoints(tmp_path, tmp_path / "alignment") for _ in range(2))
    killed.announce("checkpoint-1")
    folder = tmp_path / "checkpoint-1"
    folder.mkdir()
    for name in ["model.safetensors", "mine"][: 1 + mine]:
        (folder / name).write_text("half")
    own.read()
    assert own.is_free("checkpoint-1")
    token = own.announce("checkpoint-1")
    (folder / "model.safetensors").write_text("whole")
    (folder / "trainer_state.json").write_text(token)
    own.confirm("checkpoint-1")
    own.delete_before("checkpoint-2", 2)
    assert folder.exists() == mine


def test_a_first_save_that_broke_off_is_saved_over_by_a_run_that_begins_anew(tmp_path):
    """Killed in its first save, with no other checkpoint there: the half of it stayed for good."""
    killed, own = (OwnCheckpoints(tmp_path, tmp_path / "alignment") for _ in range(2))
    killed.announce("checkpoint-1")
    (tmp_path / "checkpoint-1").mkdir()
    (tmp_path / "checkpoint-1" / "model.safetensors").write_text("half")
    own.read()
    assert own.set_aside() is None
    assert own.is_free("checkpoint-1")
    (tmp_path / "checkpoint-1" / "trainer_state.json").write_text("another's")
    assert not own.is_free("checkpoint-1")


def test_a_checkpoint_that_a_run_without_keep_best_saved_stays():
    """Killed between the announcement and the save; then a run without `keep_best` saved at that step."""
    first = watched(SCORES)

    def dies(*_, **__):
        raise KeyboardInterrupt

    save = first._save_checkpoint
    first._save_checkpoint = lambda *given: dies() if first.state.global_step == 4 else save(*given)
    with pytest.raises(KeyboardInterrupt):
        first.train()
    assert checkpoints() == ["checkpoint-2"]
    make_trainer(folder="run", **RUN | {"max_steps": 4}, save_strategy="steps", save_steps=4).train(
        resume_from_checkpoint="run/checkpoint-2"
    )
    assert checkpoints() == ["checkpoint-2", "checkpoint-4"]
    before = Path("run/checkpoint-4/trainer_state.json").read_bytes()
    own = OwnCheckpoints(Path("run"), Path("run/alignment"))
    own.read()
    assert not own.is_free("checkpoint-4")
    own.delete_before("checkpoint-6", 6)
    assert Path("run/checkpoint-4/trainer_state.json").read_bytes() == before


@pytest.mark.parametrize(
    "record",
    [
        "pipe",
        "[" * 5000 + "]" * 5000,
        '{"schema_version": 1, "kept": {"checkpoint-%s": null}}' % ("9" * 5000),
        '{"schema_version": true, "kept": {}}',
        '{"schema_version": 1, "kept": {"checkpoint-\u0663": null}}',
        '{"schema_version": 1, "kept": {"checkpoint-1": {"inode": [], "files": {}}}}',
        '{"schema_version": 1, "kept": {}, "announced": {"checkpoint-1": {"token": "", "there": {}}}}',
    ],
    ids=["pipe", "deep", "long", "bool", "arabic", "inode", "token"],
)
def test_a_list_of_any_kind_is_refused_at_once(record, tmp_path):
    """A pipe in the list's place was waited for, and odd lists raised foreign errors."""
    own = OwnCheckpoints(tmp_path, tmp_path)
    if record == "pipe":
        os.mkfifo(tmp_path / "keep_best.json")
    else:
        (tmp_path / "keep_best.json").write_text(record)
    signal.alarm(20)
    try:
        with pytest.raises((ArgumentError, OSError)):
            own.read()
    finally:
        signal.alarm(0)
    assert own._found == {}


def test_what_a_killed_run_was_writing_is_swept(tmp_path):
    """The halves of lists that killed runs had left were never removed."""
    (tmp_path / f".writing-{files._machine()}-{2**22 + 1}-abcd_012").touch()
    OwnCheckpoints(tmp_path, tmp_path).read()
    assert not list(tmp_path.iterdir())


@pytest.mark.thorough
@pytest.mark.parametrize("code", one_in(2, [errno.ENOLCK, errno.EOPNOTSUPP]))
def test_a_file_system_without_locks_keeps_two_runs_apart(code, tmp_path, monkeypatch):
    """Without locks in the file system, both of two runs went on."""

    def no_locks(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", no_locks)
    monkeypatch.setattr(own_checkpoints, "PATIENCE", 0.2)
    one = OwnCheckpoints(tmp_path, tmp_path / "alignment")
    assert one.lock()
    command = [sys.executable, "-c", ANOTHER.format(code=code, path=str(tmp_path))]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    assert subprocess.run(command, env=environment, capture_output=True, text=True).stdout == "False\n"
    again = OwnCheckpoints(tmp_path, tmp_path / "alignment")  # as notebooks build a callback anew
    assert again.lock()
    again.unlock()
    assert subprocess.run(command, env=environment, capture_output=True, text=True).stdout == "True\n"


ANOTHER = """
import fcntl
def no_locks(*_):
    raise OSError({code}, "no locks")
fcntl.flock = no_locks
from pathlib import Path
import xalign.monitor.own_checkpoints as own
own.PATIENCE = 0.2
print(own.OwnCheckpoints(Path({path!r}), Path({path!r}, "alignment")).lock())
"""


# Killed at any moment.


def killed_run(folder, kill_at=0):
    command = [sys.executable, str(Path(__file__).parent / "keeps_best.py"), str(folder), str(kill_at)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)


def weights_of(folder):
    return torch.load(folder / "weights.pt")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that was not killed, and how many moments it has."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    ran = killed_run(folder)
    assert ran.returncode == 0, ran.stderr[-2000:]
    moments = int(ran.stdout.rpartition("moments:")[2])
    assert moments > 100
    return folder, moments


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 50])
def test_killed_at_any_moment(count, whole, tmp_path):
    """A killed run left neither the old best checkpoint nor the new one whole, or kept both for good."""
    folder, moments = whole
    draw = random.Random(count)
    for number in range(count):
        run, at = tmp_path / f"run-{number}", draw.randint(2, moments)
        ran = killed_run(run, at)
        assert ran.returncode == -signal.SIGKILL, (at, ran.stderr[-1500:])
        check_best_is_whole(run, at)
        ran = killed_run(run)
        assert ran.returncode == 0, (at, ran.stderr[-3000:])
        assert checkpoints(run) == checkpoints(folder), at
        assert not list(run.glob("_*")), at
        ours, theirs = weights_of(run), weights_of(folder)
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs), at
        best = json.loads((run / "last.json").read_text())
        assert best == json.loads((folder / "last.json").read_text()), at
        for file in ("model.safetensors", "trainer_state.json"):
            assert (run / best["checkpoint"] / file).exists()
        same = [(one / best["checkpoint"] / "model.safetensors").read_bytes() for one in (run, folder)]
        assert same[0] == same[1]
        shutil.rmtree(run)


def check_best_is_whole(run, at):
    """Once a best checkpoint was kept, there is a whole one, of the best or of the one before."""
    log = run / "kept.txt"
    kept = log.read_text().split() if log.exists() else []
    if kept:  # saved whole, in this order
        whole = [name for name in checkpoints(run) if (run / name / "trainer_state.json").exists()]
        assert kept[-1] in whole, (at, kept, whole)
