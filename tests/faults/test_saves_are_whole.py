"""A save that is interrupted, that runs out of room or that races with another leaves a whole artefact."""

import builtins
import errno
import os
import random
import resource
import signal
import time
from dataclasses import replace

import pytest

from tests.cli.typed import xalign
from tests.reports import own_metrics
from tests.tiny import make_model, make_tokenizer
from xalign import AlignmentMonitor, AlignmentReport, UnitSet, load_pairs
from xalign.errors import ReportError, UnitsError
from xalign.results.history import History
from xalign.storage import write_whole

REPORT = own_metrics(step=3)
OTHER = replace(REPORT, step=4)
UNITS = UnitSet.from_rows([("deu_Latn", "1.inner", 7, 0.9, 2.5)])


def interrupt_at(patched, moment):
    """Press Ctrl-C before (even) or after (odd) a call that opens, syncs, moves or removes a file.

    Returns:
        The list of calls, in order; it grows.
    """
    calls = []

    def interrupting(real):
        def call(*args, **kwargs):
            calls.append(real.__name__)
            number = len(calls) - 1
            if moment == 2 * number:
                raise KeyboardInterrupt
            found = real(*args, **kwargs)
            if moment == 2 * number + 1:
                if real is open:
                    found.close()
                raise KeyboardInterrupt
            return found

        return call

    patched.setattr("xalign.storage.open", interrupting(builtins.open), raising=False)
    for name in ("fsync", "replace"):
        patched.setattr(os, name, interrupting(getattr(os, name)))
    return calls


def test_an_interrupt_arrives_and_leaves_one_whole_report(tmp_path):
    """The cleanup failed after a finished rename, and its FileNotFoundError took the interrupt's place."""
    folder = REPORT.save(tmp_path / "report")
    moments = 0
    while True:
        with pytest.MonkeyPatch.context() as patched:
            calls = interrupt_at(patched, moments)
            try:
                OTHER.save(folder, overwrite=True)
                break
            except KeyboardInterrupt:
                moments += 1
        assert AlignmentReport.load(folder).step in (3, 4)
        assert len(list(folder.iterdir())) == 2
        REPORT.save(folder, overwrite=True)
    assert calls == ["open", "fsync", "open", "fsync", "replace", "replace"]
    assert moments == 12


def test_an_interrupt_leaves_the_file_or_nothing(tmp_path):
    """`write_whole` left its hidden file where the interrupt came between making and watching it."""
    for moment in range(6):
        with pytest.MonkeyPatch.context() as patched, pytest.raises(KeyboardInterrupt):
            interrupt_at(patched, moment)
            write_whole(tmp_path / "file", b"data")
        assert [path.name for path in tmp_path.iterdir()] == ["file"][: moment == 5]


def test_ctrl_c_ends_a_run_that_saves(tmp_path, monkeypatch):
    """Ctrl-C while a report's file was moved became a warning, and the training went on."""
    monitor = AlignmentMonitor(
        *(make_model("llama"), make_tokenizer(), load_pairs("bundled", ["deu_Latn"], n=4)),
        metrics=["nasca"],
        every=1,
        save_dir=tmp_path,
    )
    real = os.replace

    def moved(source, target):
        real(source, target)
        if "values" in str(target):
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(os, "replace", moved)
    with pytest.raises(KeyboardInterrupt):
        monitor.step(0)


def in_a_process(act):
    """Run a function in a forked process; return its id."""
    process = os.fork()
    if process == 0:
        try:
            act()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return process


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("save", ["report", "units"])
@pytest.mark.parametrize("rounds", [12, pytest.param(250, marks=pytest.mark.slow)])
def test_two_that_overwrite_one_folder_leave_a_whole_one(tmp_path, rounds, save):
    """One removed the tensors that the other had just named: 57 of 250 rounds ended with a broken report."""
    objects = [own_metrics(step=1), own_metrics(step=2, distance=2000.0)]
    sets = [UNITS, UnitSet.from_rows([("deu_Latn", "1.inner", 8, 0.9, 2.5)])]
    for number in range(rounds):
        folder = tmp_path / str(number)

        def write(which, folder=folder):
            if save == "report":
                objects[which].save(folder, overwrite=True)
            else:
                sets[which].save_pretrained(folder)

        write(0)
        delays = random.Random(number)
        waits = [delays.random() * 0.01 for _ in range(2)]

        def racing(which, write=write, waits=waits):
            time.sleep(waits[which])
            write(which)

        processes = [in_a_process(lambda which=which: racing(which)) for which in (1, 0)]
        assert [os.waitpid(process, 0)[1] for process in processes] == [0, 0]
        if save == "report":
            assert AlignmentReport.load(folder).step in (1, 2)
        else:
            assert UnitSet.from_pretrained(folder) in sets


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("last", [1, 2])
def test_a_killed_overwrite_leaves_nothing_for_ever(tmp_path, last):
    """The tensors that a killed save had written were never removed."""
    folder = REPORT.save(tmp_path / "report")

    def die():
        synced, real = [], os.fsync

        def sync(handle):
            synced.append(handle)
            if len(synced) == last:
                os.kill(os.getpid(), signal.SIGKILL)
            real(handle)

        os.fsync = sync
        OTHER.save(folder, overwrite=True)

    assert os.waitpid(in_a_process(die), 0)[1] == signal.SIGKILL
    assert AlignmentReport.load(folder).step == 3
    assert len(list(folder.iterdir())) == 2 + last
    OTHER.save(folder, overwrite=True)
    assert len(list(folder.iterdir())) == 2


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_full_disk_is_an_error_of_the_format_that_names_the_file(tmp_path):
    """`report.save` raised a foreign OSError that named no file, and left tensors behind."""
    vast = UnitSet.from_rows([("deu_Latn", "1.inner", unit, 0.9, 2.5) for unit in range(500)])

    def save_what_is_too_large():
        # No file may grow beyond a kilobyte, as with `ulimit -f 1`. Not here, where pytest writes files too.
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
        for save, error, name in [
            (lambda: REPORT.save(tmp_path / "report"), ReportError, "report.json"),
            (lambda: REPORT.to_html(tmp_path / "page" / "page.html"), ReportError, "page.html"),
            (lambda: vast.save_pretrained(tmp_path / "units"), UnitsError, "xalign.json"),
        ]:
            with pytest.raises(error, match=rf"{name} cannot be written: File too large; make room"):
                save()

    assert os.waitpid(in_a_process(save_what_is_too_large), 0)[1] == 0
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_command_on_a_full_disk_says_which_file(tmp_path, monkeypatch):
    """`xalign compare --out` and `xalign page` ended with exit code 1 and a message that named no file."""
    REPORT.save(tmp_path / "report")

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    report = str(tmp_path / "report")
    for command in (
        ("compare", report, report, "--out", str(tmp_path / "drawn")),
        ("page", report, "--out", str(tmp_path / "page.html")),
    ):
        done = xalign(*command)
        assert done.exit_code == 2
        assert "cannot be written: No space left on device" in " ".join(done.stderr.split())


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_what_a_killed_run_was_writing_is_swept_when_it_goes_on(tmp_path):
    """A history and a record of checkpoints never removed the halves that killed runs had left."""
    path = tmp_path / "history.jsonl"
    History(path).append(REPORT)

    def die():
        os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
        History(path).insert(replace(REPORT, step=1))

    assert os.waitpid(in_a_process(die), 0)[1] == signal.SIGKILL
    assert list(tmp_path.glob(".writing-*"))
    History(path).append(OTHER)
    assert not list(tmp_path.glob(".writing-*"))
