"""A pipe, a device or a socket where a file belongs is refused at once; nothing waits for it."""

import os
import resource
import signal
import socket
import threading
from contextlib import contextmanager, suppress

import pytest

from tests.cli.typed import xalign
from xalign import load_pairs
from xalign.errors import PairsError


def fifo(path):
    os.mkfifo(path)


def endless(path):
    path.symlink_to("/dev/zero")


def listening(path):
    place = os.getcwd()
    os.chdir(path.parent)  # the name of a socket may not be long
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.chdir(place)


def folder(path):
    path.mkdir()


KINDS = [fifo, endless, listening, folder]


class Hangs(BaseException):
    """No `TimeoutError`, which is an `OSError` that could be taken for a broken file."""


def _data_in_use():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[5]) * resource.getpagesize()


@contextmanager
def no_longer_than(seconds):
    """Fail, rather than wait for ever or fill the memory, where something hangs or never ends."""

    def hangs(number, frame):
        raise Hangs(f"it hangs after {seconds} s")

    before = signal.signal(signal.SIGALRM, hangs)
    limits = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (_data_in_use() + 2**30, limits[1]))
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_DATA, limits)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["pairs.tsv", "pairs.jsonl", "folder/deu_Latn.txt", "folder/eng_Latn.txt"])
def test_as_parallel_text(tmp_path, kind, name):
    """`load_pairs` hung at a FIFO until another process wrote into it, and read /dev/zero for ever."""
    (tmp_path / "folder").mkdir()
    for code in ("deu_Latn", "eng_Latn"):
        (tmp_path / "folder" / f"{code}.txt").write_text("One.\nTwo.\n")
    (tmp_path / name).unlink(missing_ok=True)
    kind(tmp_path / name)
    source = tmp_path / name.split("/")[0]
    with no_longer_than(20), pytest.raises(PairsError):
        load_pairs(source)
    with no_longer_than(20):
        done = xalign("measure", "m", "--pairs", source)
    assert done.exit_code == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_fifo_that_someone_writes_into_is_refused_too(tmp_path):
    """What is measured must be there to be read again, so a pipe is never read."""
    path = tmp_path / "pairs.tsv"
    os.mkfifo(path)
    text = b"eng\tdeu\nOne.\tEins.\nTwo.\tZwei.\n"

    def write():
        with suppress(OSError):  # nobody reads
            path.write_bytes(text)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    with no_longer_than(20), pytest.raises(PairsError, match="no regular file"):
        load_pairs(path)
    os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    writer.join(5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("verb", ["compare", "page", "page-run", "steer", "track"])
def test_as_anything_that_a_command_reads(tmp_path, kind, verb):
    """A command given a folder whose file is a pipe waited for it without a word."""
    saved = tmp_path / "saved"
    saved.mkdir()
    for name in {"page-run": ["history.jsonl"], "track": []}.get(verb, ["report.json", "xalign.json"]):
        kind(saved / name)
    if verb == "track":
        (saved / "alignment").mkdir()
        kind(saved / "alignment" / "history.jsonl")
        (saved / "checkpoint-1").mkdir()
        (saved / "checkpoint-1" / "trainer_state.json").write_text("{}")
    arguments = {
        "compare": ("compare", saved, saved),
        "steer": ("steer", "m", "--units", saved, "--language", "deu"),
        "track": ("track", saved),
    }.get(verb, ("page", saved))
    with no_longer_than(20):
        done = xalign(*arguments)
    assert done.exit_code == 2, (done.stdout, done.stderr)
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("verb", ["compare", "page", "steer"])
def test_in_place_of_a_folder(tmp_path, kind, verb):
    """The same for the path itself."""
    path = tmp_path / "given"
    kind(path)
    arguments = {
        "compare": ("compare", path, path),
        "page": ("page", path),
        "steer": ("steer", "m", "--units", path, "--language", "deu"),
    }[verb]
    with no_longer_than(20):
        done = xalign(*arguments)
    assert done.exit_code == 2, (done.stdout, done.stderr)
