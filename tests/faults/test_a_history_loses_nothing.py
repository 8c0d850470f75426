"""Whatever several processes, full disks and interruptions do, a history holds every entry or says so."""

import dataclasses
import errno
import json
import multiprocessing
import os
import random
import shutil
import time
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tiny import make_model, make_tokenizer
from tests.torn import Torn
from xalign import load_pairs, measure, schema
from xalign.errors import ReportError
from xalign.model.distributed import Ranks
from xalign.monitor import history_writer
from xalign.monitor.history_writer import HistoryWriter
from xalign.monitor.keeps_running import KeepsRunning
from xalign.monitor.safe_writer import SafeWriter
from xalign.monitor.track import track
from xalign.results import history_file, locks
from xalign.results.history import NAME, History
from xalign.results.history_entry import entry_of
from xalign.results.locks import locked

OLD = Path(__file__).parent.parent / "written_by_0_1_0" / NAME
FORK = multiprocessing.get_context("fork")
forks = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture(scope="module")
def pairs():
    return load_pairs("bundled", ["deu_Latn"], n=4)


@pytest.fixture(scope="module")
def report(pairs):
    return measure(make_model("llama"), make_tokenizer(), pairs, ["nasca"], step=0)


def at(report, step, writer="me"):
    """The report of another step, which says who wrote it."""
    return dataclasses.replace(report, step=step, provenance=report.provenance | {"model": writer})


def written(path, report, *steps):
    history = History(path)
    for step in steps:
        history.append(at(report, step))
    return path


# Several processes.


def add(path, report, rounds, mine, told):
    """Add entries at steps that are `mine` modulo 3: at the end, or for 0 anywhere before it."""
    history, drawn, done = History(path), random.Random(mine), []
    while len(done) < rounds:
        history.refresh()
        end = history.steps[-1]
        if mine:
            step = end + 1 + (mine - end - 1) % 3
        else:
            free = sorted(set(range(3, end, 3)) - set(history.steps))
            if not free:
                time.sleep(0.001)
                continue
            step = drawn.choice(free)
        try:
            (history.append if mine else history.insert)(at(report, step, f"{mine}: {len(done)}"))
        except ValueError:  # another was faster
            continue
        done.append(step)
    told.put((mine, done))


def look(path, is_over, told):
    """Read again and again, and tell what was ever wrong."""
    warnings.simplefilter("error")
    seen, wrong, looks = set(), [], 0
    while not is_over.is_set() and not wrong:
        looks += 1
        try:
            steps = History.load(path).steps
        except Exception as error:
            wrong.append(repr(error))
            break
        if steps != sorted(set(steps)) or not seen <= set(steps):
            wrong.append(f"{len(seen - set(steps))} steps are gone")
        seen |= set(steps)
    told.put(("looks", looks, wrong))


@forks
@pytest.mark.parametrize("rounds", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_two_that_append_and_one_that_inserts_lose_no_entry(rounds, report, tmp_path):
    """Each rewrote the file from what it had read before, and so dropped what the others had written."""
    path = written(tmp_path / NAME, report, 1)
    told, is_over, looked = FORK.Queue(), FORK.Event(), FORK.Queue()
    reader = FORK.Process(target=look, args=(path, is_over, looked))
    writers = [FORK.Process(target=add, args=(path, report, rounds, mine, told)) for mine in (0, 1, 2)]
    for process in (reader, *writers):
        process.start()
    done = dict(told.get(timeout=3600) for _ in writers)
    is_over.set()
    name, looks, wrong = looked.get(timeout=60)
    for process in (reader, *writers):
        process.join()
    assert looks > 5
    assert not wrong
    expected = {step: f"{mine}: {n}" for mine, steps in done.items() for n, step in enumerate(steps)}
    assert len(expected) == 3 * rounds
    assert {one["step"]: one["model"] for one in History.load(path).entries} == expected | {1: "me"}


def hold(folder, is_held, is_over):
    HistoryWriter(folder, save_reports=False)
    keep = HistoryWriter(folder, save_reports=False)  # one process may build several
    is_held.set()
    is_over.wait(60)
    del keep


@forks
def test_a_second_run_that_is_alive_is_refused(tmp_path, monkeypatch):
    """Two runs in one folder replaced each other's entries step by step."""
    monkeypatch.setattr(history_writer, "_WAIT", 0.2)
    is_held, is_over = FORK.Event(), FORK.Event()
    other = FORK.Process(target=hold, args=(tmp_path, is_held, is_over))
    other.start()
    assert is_held.wait(60)
    with pytest.raises(ReportError, match=r"a run of another process that is still alive.*\(name=\.\.\.\)"):
        HistoryWriter(tmp_path, save_reports=False)
    os.kill(other.pid, 9)  # a run that was killed is no longer in the way
    other.join()
    HistoryWriter(tmp_path, save_reports=False)


def test_a_run_and_its_tracker_may_measure_the_same_step(report, pairs, tmp_path):
    """`xalign track` ended with an error where the run had measured the step meanwhile."""
    path = written(tmp_path / NAME, report, 0)
    model, tokenizer = make_model("llama"), make_tokenizer()

    def load(step):
        if step == 1:
            History(path).append(at(report, 1, "the run"))
        return model, tokenizer

    history = track(lambda: {step: step for step in range(3)}, load, tmp_path, pairs)
    assert history.steps == [0, 1, 2]
    assert history.entries[1]["model"] == "the run"
    assert history.report(2) is not None


def test_entries_of_an_earlier_run_do_not_come_back(report, tmp_path):
    """A tracker that knew the entries of an earlier run wrote them into the history of the next one."""
    tracked = History(written(tmp_path / NAME, report, 0, 1, 2))
    writer = HistoryWriter(tmp_path, save_reports=False)
    with pytest.warns(UserWarning, match="earlier-1"):
        writer.set_aside()
    tracked.insert(at(report, 5))
    writer.append(at(report, 7))
    assert History(tmp_path / NAME).steps == [5, 7]
    assert History(tmp_path / "earlier-1" / NAME).steps == [0, 1, 2]


def test_a_replaced_entry_is_replaced_for_others_too(report, tmp_path):
    """An entry that another process had in memory won over the one that had replaced it in the file."""
    path = written(tmp_path / NAME, report, 0, 1, 2)
    other = History(path)
    History(path).append(at(report, 1, "again"), replace=True)
    other.append(at(report, 3))
    assert [(one["step"], one["model"]) for one in History(path).entries] == [
        *((0, "me"), (1, "again")),
        (3, "me"),
    ]


# Interruptions and damage.


@given(st.data())
def test_any_part_of_a_line_is_dropped_and_healed(report, tmp_path_factory, data):
    """What an interrupted write leaves: a part of the last line, or rubbish without an end."""
    folder = tmp_path_factory.mktemp("torn")
    path = written(folder / NAME, report, 0, 1, 2)
    lines = path.read_bytes().splitlines(keepends=True)
    whole = b"".join(lines[:2])
    torn = data.draw(st.integers(1, len(lines[2]) - 2).map(lambda n: lines[2][:n]) | st.just(b"\0" * 50))
    path.write_bytes(whole + torn)
    with pytest.warns(UserWarning, match="its last line is broken"):
        history = History(path)
    assert history.steps == [0, 1]
    history.append(at(report, 2))
    assert path.read_bytes() == whole + lines[2]
    shutil.rmtree(folder)


@pytest.mark.parametrize("old", [False, True])
def test_a_whole_last_line_without_its_end_is_kept(old, report, tmp_path):
    """A line whose checksum is right was dropped where only its newline was missing."""
    path = shutil.copy(OLD, tmp_path / NAME) if old else written(tmp_path / NAME, report, 0, 1, 2)
    whole, steps = path.read_bytes(), History(path).steps
    path.write_bytes(whole[:-1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        history = History(path)
        assert history.steps == steps
        history.refresh()
        assert History(path).steps == steps
    assert path.read_bytes().endswith(b"\n")
    if not old:
        assert path.read_bytes() == whole
        path.write_bytes(whole[:-1].replace(b'"value": [', b'"value": [1'))
        with pytest.raises(ReportError, match="line 1"):
            History(path)


@given(st.data())
def test_what_is_no_history_is_refused_and_kept(report, tmp_path_factory, data):
    """Any file without a newline counted as an interrupted history, and was overwritten."""
    folder = tmp_path_factory.mktemp("notes")
    path = written(folder / NAME, report, 0) if data.draw(st.booleans()) else folder / "notes.txt"
    before = path.read_bytes() if path.exists() else b""
    text = data.draw(st.just("precious") | st.text(min_size=1).map(lambda text: "!" + text))
    path.write_bytes(before + text.encode(errors="replace").replace(b"\n", b" "))
    mine = path.read_bytes()
    with pytest.raises(ReportError, match=r"line \d is no entry of a history"):
        History(path)
    with pytest.raises(ReportError, match=r"line \d is no entry of a history"):
        History.load(path)
    assert path.read_bytes() == mine
    shutil.rmtree(folder)


@pytest.mark.parametrize("blank", [b"\n", b"  \n", b"\r\n", b" "])
def test_blank_lines_are_no_damage(blank, report, tmp_path):
    """A blank line, as an editor leaves one, made the whole file unreadable."""
    path = written(tmp_path / NAME, report, 0, 1)
    path.write_bytes(path.read_bytes() + blank)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        History(path).append(at(report, 2))
        assert History(path).steps == [0, 1, 2]


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_damage_is_an_error_that_names_the_line(count, report, tmp_path):
    """A flipped bit in a number gave another number."""
    path = written(tmp_path / NAME, report, 0, 1, 2)
    data, drawn = path.read_bytes(), random.Random(0)
    for _ in range(count):
        place, bit = drawn.randrange(len(data) - 1), 1 << drawn.randrange(8)
        path.write_bytes(data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :])
        with pytest.raises(ReportError, match=rf"line {data[:place].count(10) + 1}\b"):
            History(path)


def test_lines_that_were_moved_or_doubled_are_refused(report, tmp_path):
    """Steps out of order were read as a curve."""
    path = written(tmp_path / NAME, report, 0, 1, 2)
    first, second, third = path.read_bytes().splitlines(keepends=True)
    for lines in ([first, third, second], [first, first, second]):
        path.write_bytes(b"".join(lines))
        with pytest.raises(ReportError, match=r"line \d: step \d follows step \d"):
            History(path)


def test_histories_of_0_1_0_have_no_checksums_and_go_on(tmp_path):
    """Lines without checksums are read, and get one when the file is written anew."""
    path = shutil.copy(OLD, tmp_path / NAME)
    history = History(path)
    assert len(history) > 1
    rows = history.to_rows()
    history.keep_until(history.steps[-2])
    lines = path.read_bytes().splitlines()
    assert all(b'"crc32"' in line for line in lines)
    assert History(path).to_rows() == rows[: len(History(path).to_rows())]
    damaged = json.loads(lines[0]) | {"crb32": "00000000"}
    del damaged["crc32"]
    path.write_text(json.dumps(damaged) + "\n")
    with pytest.raises(ReportError, match="line 1 is no entry"):
        History(path)


def test_what_no_line_can_hold_is_refused_before_anything_is_written(report, tmp_path):
    """A name that cannot be encoded raised a UnicodeEncodeError at this and every later measurement."""
    path = written(tmp_path / NAME, report, 0)
    history, before = History(path), path.read_bytes()
    with pytest.raises(ReportError, match="step 1 cannot be written"):
        history.append(at(report, 1, "\ud800"))
    assert path.read_bytes() == before
    history.append(at(report, 2))
    assert History(path).steps == [0, 2]


def test_a_history_can_be_read_where_nothing_can_be_written(report, tmp_path, monkeypatch):
    """A reader needs a lock only to tell a line being written from a broken one."""
    path = written(tmp_path / NAME, report, 0, 1)
    path.write_bytes(path.read_bytes()[:-9])
    monkeypatch.setattr(locks, "acquire", fails(errno.EROFS))
    with pytest.warns(UserWarning, match="its last line is broken"):
        assert History(path).steps == [0]


# What ended a run.


def writing(folder, *, save_reports=False, is_new=False):
    writer = HistoryWriter(folder, save_reports=save_reports)
    safe = SafeWriter(writer, KeepsRunning(Ranks()))
    safe.begin(-1, is_new=is_new)
    return safe, writer


def fails(number):
    def failing(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    return failing


def half_written(number):
    opened = open
    return lambda *args, **kwargs: Torn(opened(*args, **kwargs), fails(number))


CALLS = {
    "lock": (locks, "acquire", fails),
    "open": (history_file, "open", fails),
    "write": (history_file, "open", half_written),
    "sync": (os, "fsync", fails),
    "stat": (os, "stat", fails),
    "make a folder": (os, "mkdir", fails),
    "replace": (os, "replace", fails),
}


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.EACCES, errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("call", CALLS)
def test_no_call_that_fails_ends_a_run(call, number, report, tmp_path):
    """What failed outside the one call that was guarded raised in the middle of the training."""
    safe, writer = writing(tmp_path, save_reports=True)
    safe.keep(at(report, 0))
    place, name, made = CALLS[call]
    with pytest.MonkeyPatch.context() as patched, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        patched.setattr(place, name, made(number), raising=False)
        for step in (1, 2):
            safe.keep(at(report, step))
    assert len(said) == 1
    assert "training goes on" in str(said[0].message)
    safe.keep(at(report, 3))
    assert History(tmp_path / NAME).steps == writer.history.steps == [0, 1, 2, 3]
    assert not writer.history.unwritten
    assert [writer.history.report(step).step for step in range(4)] == [0, 1, 2, 3]


@pytest.mark.parametrize("happens", ["garbage", "folder deleted", "folder replaced by a file", "locked"])
def test_what_happens_to_the_folder_does_not_end_a_run(happens, report, tmp_path, monkeypatch):
    """Garbage in the history, or a folder that was gone, raised in the middle of the training."""
    folder = tmp_path / "alignment"
    folder.mkdir()
    safe, writer = writing(folder)
    safe.keep(at(report, 0))
    kept = (folder / NAME).read_bytes()
    monkeypatch.setattr(locks, "WAIT", 0.1)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        if happens == "garbage":
            (folder / NAME).write_bytes(b"garbage\n" + kept)
            safe.keep(at(report, 1))
            (folder / NAME).write_bytes(kept)
        elif happens == "locked":
            with locked(folder / NAME):
                safe.keep(at(report, 1))
        else:
            shutil.rmtree(folder)
            if happens != "folder deleted":
                folder.touch()
            safe.keep(at(report, 1))
            if happens != "folder deleted":
                folder.unlink()
    assert len(said) == (happens != "folder deleted")
    safe.keep(at(report, 2))
    assert History(folder / NAME).steps == [0, 1, 2]


def test_an_earlier_run_that_cannot_be_moved_stays(report, tmp_path):
    """Where the earlier history could not be moved, the run ended; going on would have replaced it."""
    path = written(tmp_path / NAME, report, 0, 1, 2)
    before = path.read_bytes()
    safe, writer = writing(tmp_path, is_new=True)
    with pytest.MonkeyPatch.context() as patched, pytest.warns(UserWarning, match="training goes on"):
        patched.setattr(os, "rename", fails(errno.EACCES))
        safe.keep(at(report, 0, "new"))
        assert path.read_bytes() == before
    with pytest.warns(UserWarning, match="held the measurements of an earlier run"):
        safe.keep(at(report, 1, "new"))
    assert [one["model"] for one in History(path).entries] == ["new", "new"]
    (aside,) = [folder for folder in tmp_path.glob("earlier-*") if any(folder.iterdir())]
    assert (aside / NAME).read_bytes() == before


# A history that is a link.


@pytest.mark.parametrize("relative", [True, False])
def test_a_link_stays_a_link(relative, report, tmp_path):
    """The first insert put a plain file in the link's place, and the file that it names got no more lines."""
    store, folder = tmp_path / "store", tmp_path / "run"
    store.mkdir(), folder.mkdir()
    real, link = store / "real.jsonl", folder / NAME
    link.symlink_to("../store/real.jsonl" if relative else real)
    history = History(link)  # of a file that is not there yet
    for step in (0, 4):
        history.append(at(report, step))
    history.insert(at(report, 2))
    assert link.is_symlink() and History(real).steps == History(link).steps == [0, 2, 4]
    history.keep_until(2)
    assert link.is_symlink() and History(real).steps == [0, 2]
    with open(real, "ab") as file:
        file.write(b"{")  # as an interrupted write leaves it
    with pytest.warns(UserWarning, match="its last line is broken"):
        torn = History(link)
    torn.append(at(report, 3))
    assert link.is_symlink() and History(real).steps == [0, 2, 3]


def test_a_link_and_its_file_have_one_lock(report, tmp_path, monkeypatch):
    """Two processes that came by different names could write at one time."""
    real, link = written(tmp_path / "real.jsonl", report, 0), tmp_path / "link.jsonl"
    link.symlink_to(real)
    monkeypatch.setattr(locks, "WAIT", 0.1)
    with locked(real), pytest.raises(ReportError, match="is locked by another process"):
        History(link).append(at(report, 1))
    with locked(link), pytest.raises(ReportError, match="is locked by another process"):
        History(real).append(at(report, 1))
    History(link).append(at(report, 1))
    assert History(real).steps == [0, 1]


@pytest.mark.filterwarnings("ignore:.*held the measurements of an earlier run")
def test_a_link_of_an_earlier_run_still_leads_to_its_file(report, tmp_path):
    """A relative link was moved one folder down, and led nowhere there."""
    real, folder = written(tmp_path / "real.jsonl", report, 0, 1), tmp_path / "run"
    folder.mkdir()
    (folder / NAME).symlink_to("../real.jsonl")
    before = real.read_bytes()
    safe, _ = writing(folder)
    safe.begin(-1, is_new=True)
    safe.keep(at(report, 0))
    assert History(folder / "earlier-1" / NAME).steps == [0, 1] and real.read_bytes() == before
    assert History(folder / NAME).steps == [0]


# A long history.


@pytest.mark.thorough
@pytest.mark.parametrize("lines", [2_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_a_long_history_is_read_once_and_in_linear_time(lines, report, tmp_path, monkeypatch):
    """Half of the time went into text that was written again to see whether it can be written."""
    path, entry = tmp_path / NAME, entry_of(report)
    path.write_bytes(b"".join(history_file.line_of(entry | {"step": step}) for step in range(lines)))
    reads, again = [], []
    read = history_file.read_regular
    monkeypatch.setattr(history_file, "read_regular", lambda *args: reads.append(args) or read(*args))
    monkeypatch.setattr(schema.json, "dumps", lambda *args, **options: again.append(args))
    started = time.process_time()
    history = History(path)
    seconds = time.process_time() - started
    monkeypatch.undo()
    assert not again  # nothing in it is escaped
    monkeypatch.setattr(history_file, "read_regular", lambda *args: reads.append(args) or read(*args))
    history.append(at(report, lines))
    history.append(at(report, lines + 1))
    assert len(reads) == 1  # nobody else wrote, so it was not read again
    with open(path, "ab") as file:
        file.write(history_file.line_of(entry | {"step": lines + 2}))
    history.append(at(report, lines + 3))
    assert len(reads) == 2 and history.steps == list(range(lines + 4))
    print(f"{seconds / lines * 1e6:.0f} microseconds per line")
    assert seconds / lines < 2e-3  # twenty times what it takes, for a busy machine
