"""The wrapper of eflomal: what it gives the program and takes from it, and errors where that fails."""

import shutil
import stat
import sys

import pytest

from xalign.errors import ArgumentError, MissingExtraError
from xalign.links.eflomal import PROGRAM, eflomal
from xalign.links.link import link_tokens

# Links every token with the one of its position, and leaves a copy of what it was given.
FAKE = """#!{python}
import sys
given = dict(zip(sys.argv[1:-1:2], sys.argv[2::2]))
sides = [open(given[flag]).read().split("\\n")[:-1] for flag in ("-s", "-t")]
open("{seen}", "w").write(repr(sides))
links = [" ".join(f"{{i}}-{{i}}" for i in range(min(len(a.split()), len(b.split())))) for a, b in zip(*sides)]
for flag in ("-f", "-r"):
    open(given[flag], "w").write("\\n".join(links) + "\\n")
for flag, score in (("-F", "1.5"), ("-R", "2.5")):
    open(given[flag], "w").write((score + "\\n") * len(links))
"""


def install(tmp_path, monkeypatch, text):
    program = tmp_path / "bin" / PROGRAM
    program.parent.mkdir()
    program.write_text(text.format(python=sys.executable, seen=tmp_path / "seen"))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(program.parent))


def test_the_program_gets_numbers_and_gives_links(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, FAKE)
    forward, backward = eflomal([["a b", "c"], ["c"]], [["x", "y"], ["y", "x", "y"]])
    assert (tmp_path / "seen").read_text() == "[['0 1', '1'], ['0 1', '1 0 1']]"
    assert forward.links == backward.links == [[(0, 0), (1, 1)], [(0, 0)]]
    assert (forward.scores, backward.scores) == ((1.5, 1.5), (2.5, 2.5))
    assert link_tokens([["a"]], [["b"]], aligner="eflomal") == [[(0, 0)]]


def test_it_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(MissingExtraError, match="pip install eflomal .* aligner='ibm1'"):
        eflomal([["a"]], [["b"]])


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("import sys\nsys.exit('out of memory')\n", "ended with code 1: out of memory"),
        ("pass\n", "wrote something else than links"),
        (FAKE.split("\n", 1)[1].replace("{{i}}-{{i}}", "{{i}}"), "wrote something else"),
        (FAKE.split("\n", 1)[1].replace('(score + "\\n")', '"1\\n1\\n"'), "1 lines and 2 scores for 1 pairs"),
    ],
)
def test_it_fails(tmp_path, monkeypatch, end, said):
    install(tmp_path, monkeypatch, "#!{python}\n" + end)
    with pytest.raises(ArgumentError, match=said):
        eflomal([["a"]], [["b"]])


@pytest.mark.skipif(shutil.which(PROGRAM) is None, reason="eflomal is not installed")
def test_the_real_program_links_words_as_the_built_in_one_does():
    language = [["a", "b", "c"], ["b", "a"], ["c", "b"], ["a", "c"]] * 10
    pivot = [[word.upper() for word in row] for row in language]
    pivot[0] = ["A", "B"]  # so that positions of both sides cannot be exchanged
    for direction in eflomal(language, pivot):
        assert direction.links[1] == [(0, 0), (1, 1)]
        assert direction.links[0] == [(0, 0), (1, 1)]
        assert len(direction.scores) == 40
