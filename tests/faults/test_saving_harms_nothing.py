"""Saving over what is there removes only files of the format, and what killed processes left half-written."""

import hashlib
import json
import os
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest

import xalign.files as files
from tests.reports import own_metrics
from xalign import AlignmentReport, UnitSet
from xalign.errors import ArgumentError, ReportError, UnitsError, XAlignError
from xalign.results.history import History
from xalign.storage import write_whole
from xalign.views.page import write_page

REPORT = own_metrics(step=3)
UNITS = UnitSet.from_rows([("deu_Latn", "1.inner", 7, 0.9, 2.5)])


def named_in(folder, file, name="report.json"):
    """Make the saved JSON name another file of tensors, with the checksum that belongs to it."""
    body = json.loads((folder / name).read_bytes())
    body["values"]["file"] = file
    body["sha256"] = hashlib.sha256(
        json.dumps({k: v for k, v in body.items() if k != "sha256"}, sort_keys=True).encode()
    ).hexdigest()
    (folder / name).write_text(json.dumps(body))


@pytest.mark.parametrize(
    "file",
    [
        *("notes.txt", "./notes.txt", "sub/notes.txt", "../notes.txt", "/etc/hostname", "model.safetensors"),
        *("values-mine.safetensors", "values-0123456789ab.safetensors.bak", "", ".", "..", "report.json"),
        *(
            "values-0123456789AB.safetensors",
            "values-0123456789ab.safetensors\n",
            "\0",
            5,
            None,
            ["notes.txt"],
        ),
    ],
)
def test_only_the_formats_own_files_are_removed(tmp_path, file):
    """0.1.0 removed whatever file of the folder a report.json named as its tensors."""
    folder = REPORT.save(tmp_path / "report")
    (folder / "sub").mkdir()
    mine = [
        folder / "notes.txt",
        folder / "sub" / "notes.txt",
        tmp_path / "notes.txt",
        folder / "model.safetensors",
        folder / "values-mine.safetensors",
        folder / "values-0123456789AB.safetensors",
        folder / "values-0123456789ab.safetensors.bak",
    ]
    for path in mine:
        path.write_text("mine")
    named_in(folder, file)
    replace(REPORT, step=4).save(folder, overwrite=True)
    assert AlignmentReport.load(folder).step == 4
    assert all(path.read_text() == "mine" for path in mine)


def test_what_another_file_of_the_folder_names_is_kept(tmp_path):
    """0.1.0 removed the tensors of a unit set where a report of the same folder named them."""
    REPORT.save(tmp_path)
    UNITS.save_pretrained(tmp_path)
    named_in(tmp_path, json.loads((tmp_path / "xalign.json").read_text())["values"]["file"])
    replace(REPORT, step=4).save(tmp_path, overwrite=True)
    assert UnitSet.from_pretrained(tmp_path) == UNITS


def test_links_are_replaced_and_what_they_point_to_is_kept(tmp_path):
    """Writing through a link would change a file elsewhere."""
    folder = REPORT.save(tmp_path / "report")
    (outside := tmp_path / "outside.json").write_bytes((folder / "report.json").read_bytes())
    before = outside.read_bytes()
    (folder / "report.json").unlink()
    (folder / "report.json").symlink_to(outside)
    replace(REPORT, step=4).save(folder, overwrite=True)
    assert outside.read_bytes() == before
    assert AlignmentReport.load(folder).step == 4


def test_a_readme_that_is_no_card_is_kept(tmp_path):
    """0.1.0 replaced any README.md of a folder that held units."""
    UNITS.save_pretrained(tmp_path)
    UNITS.save_pretrained(tmp_path)
    (tmp_path / "README.md").write_text("# My notes")
    with pytest.raises(UnitsError, match=r"has a README\.md of something else"):
        UNITS.save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "# My notes"


@pytest.mark.parametrize("what", ["pipe", "folder", "device"])
@pytest.mark.parametrize("name", ["report.json", "values", "history.jsonl"])
def test_what_is_no_file_is_refused_at_once(tmp_path, what, name):
    """0.1.0 waited without end for the other end of a pipe."""
    folder = REPORT.save(tmp_path / "report")
    path = next(folder.glob("values-*")) if name == "values" else folder / name
    path.unlink(missing_ok=True)
    if what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    signal.alarm(20)  # it must not hang, and a hanging test must end
    try:
        with pytest.raises(ReportError):
            History(path) if name == "history.jsonl" else AlignmentReport.load(folder)
    finally:
        signal.alarm(0)


def test_a_file_of_tensors_of_another_size_is_not_read(tmp_path):
    """A sparse file of a terabyte takes no room on the disk, and would take all of the memory."""
    folder = REPORT.save(tmp_path / "report")
    with open(next(folder.glob("values-*")), "r+b") as file:
        file.truncate(2**40)
    with pytest.raises(ReportError, match="has 1099511627776 bytes, more than the"):
        AlignmentReport.load(folder)
    with open(folder / "report.json", "r+b") as file:
        file.truncate(2**40)
    with pytest.raises(ReportError, match="has 1099511627776 bytes, more than the"):
        AlignmentReport.load(folder)


@contextmanager
def writing(folder):
    """A process in the middle of saving a report; it is killed at the end."""
    read, write = os.pipe()
    process = os.fork()
    if process == 0:
        os.fsync = lambda handle: (os.write(write, b"!"), time.sleep(60))
        REPORT.save(folder, overwrite=True)
        os._exit(0)
    assert os.read(read, 1) == b"!"
    try:
        yield process
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


def left_in(folder):
    return sorted(path.name for path in folder.glob(".writing-*"))


def test_what_a_killed_process_left_is_swept(tmp_path):
    """0.1.0 left its half-written files in the folder for ever."""
    folder = REPORT.save(tmp_path / "report")
    with writing(folder) as living:
        with writing(folder):
            assert len(left_in(folder)) == 2
        assert len(left_in(folder)) == 2
        replace(REPORT, step=5).save(folder, overwrite=True)
        (left,) = left_in(folder)
        assert f"-{living}-" in left
    assert AlignmentReport.load(folder).step == 5
    REPORT.save(folder, overwrite=True)
    assert not left_in(folder)
    assert len(list(folder.iterdir())) == 2


def test_only_files_that_are_ours_and_left_are_swept(tmp_path):
    """A file of another machine, or of 0.1.0, goes a day after it was last written to."""
    machine, nobody = files._machine(), 2**22 + 1  # larger than any process number
    swept = [
        f".writing-{machine}-{nobody}-abcd_012",
        ".writing-00000000-1-old_abcd",
        ".writing-oldabcd_",
    ]
    kept = [
        f".writing-{machine}-{os.getpid()}-abcd_012",
        f".writing-{machine}-1-abcd_012",
        ".writing-00000000-1-new_abcd",
        ".writing-newabcd_",
        ".writing-my-notes",
        ".writing-abcd_012.txt",
        "writing-abcd_012",
    ]
    yesterday = time.time() - files.ABANDONED_AFTER - 60
    for name in (*swept, *kept):
        (tmp_path / name).write_text("x")
        if "new" not in name:
            os.utime(tmp_path / name, (yesterday, yesterday))
    (tmp_path / ".writing-a_folder").mkdir()
    (tmp_path / ".writing-the_link").symlink_to(tmp_path / kept[0])
    files.sweep(tmp_path)
    there = {path.name for path in tmp_path.iterdir()}
    assert there == {*kept, ".writing-a_folder", ".writing-the_link"}
    files.sweep(tmp_path / "no such folder")


def test_a_file_that_is_being_written_is_named_after_its_process(tmp_path, monkeypatch):
    """So that another process can tell whether its writer lives."""
    seen = []
    monkeypatch.setattr(os, "fsync", lambda handle: seen.extend(left_in(tmp_path)))
    write_whole(tmp_path / "file", b"data")
    assert len(seen) == 1
    assert files._NAME.fullmatch(seen[0])
    assert f"-{os.getpid()}-" in seen[0]
    assert not left_in(tmp_path)
    with pytest.raises(XAlignError):
        REPORT.save(tmp_path / "file")


@pytest.mark.parametrize("name", ["notes.txt", "report.json", "history.jsonl", "page"])
def test_a_page_replaces_no_file_of_another_kind(tmp_path, name):
    """`xalign page --out report/report.json` wrote the page over the report itself."""
    (tmp_path / name).write_text("mine")
    with pytest.raises(ArgumentError, match=r"must end in \.html"):
        write_page(REPORT, tmp_path / name)
    assert (tmp_path / name).read_text() == "mine"


def test_a_page_replaces_no_pipe(tmp_path):
    """A pipe, and as root a device, was replaced by the page."""
    os.mkfifo(tmp_path / "page.html")
    with pytest.raises(ArgumentError, match="no regular file"):
        write_page(REPORT, tmp_path / "page.html")
    assert (tmp_path / "page.html").is_fifo()


def test_a_report_is_read_while_it_is_overwritten(tmp_path):
    """The tensors that a reader had just found named were gone, and the report was called broken."""
    other = replace(REPORT, step=REPORT.step + 1)
    REPORT.save(tmp_path / "report")
    is_done = threading.Event()

    def write():
        while not is_done.is_set():
            other.save(tmp_path / "report", overwrite=True)
            REPORT.save(tmp_path / "report", overwrite=True)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        found = {AlignmentReport.load(tmp_path / "report").step for _ in range(300)}
    finally:
        is_done.set()
        writer.join()
    assert found == {REPORT.step, other.step}
