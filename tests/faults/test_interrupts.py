"""Ctrl-C at any moment ends a command with code 130, without a traceback and without half a file."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from xalign import AlignmentReport

# What the installed script does. It says that it has begun when the first module of the command line is
# imported: Python's own start, and that of an empty package, is nobody's to guard.
SCRIPT = """
import os, sys
def begun(event, arguments):
    if event == "import" and arguments[0] == "xalign.cli.app":
        os.write(1, b"begun\\n")
sys.addaudithook(begun)
from xalign.cli import main
sys.exit(main())
"""


def begin(*arguments, cwd, script=SCRIPT):
    """Start a command in a process of its own; return once it has begun."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored in a background job
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout.readline() == b"begun\n"
    return process


def interrupt(process, after):
    """Send SIGINT after some seconds; return the exit code and what was printed to stderr."""
    time.sleep(after)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    return process.returncode, stderr.decode()


@pytest.fixture(scope="module")
def measured(model_folder, tmp_path_factory):
    """A folder with a report, and the seconds that it took to measure it."""
    folder = tmp_path_factory.mktemp("interrupted")
    started = time.perf_counter()
    process = begin(*arguments_of(model_folder), cwd=folder)
    _, stderr = process.communicate(timeout=240)
    assert process.returncode == 0, stderr
    return folder, time.perf_counter() - started


def arguments_of(model_folder):
    return (
        *("measure", model_folder, "--n", 20, "--out", "out", "--overwrite", "--device", "cpu"),
        *("--metrics", "nasca,mexa"),
    )


@pytest.mark.thorough
@pytest.mark.parametrize("count", [2, pytest.param(50, marks=pytest.mark.slow)])
def test_at_random_moments(measured, model_folder, count):
    """A SIGINT during the imports, in 0.1.0 most of a short command, ended it with a traceback and code 1."""
    folder, seconds = measured
    interrupted = 0
    for round_ in range(count):
        # Evenly over the whole run, with the end in it.
        after = seconds * (round_ + random.Random(round_).random()) / count
        code, stderr = interrupt(begin(*arguments_of(model_folder), cwd=folder), after)
        finished = code == 0  # it was quicker this time
        interrupted += code == 130
        assert finished or code == 130, (after, code, stderr)
        assert "Traceback" not in stderr, (after, stderr)
        assert finished or stderr.strip().splitlines()[-1] == "xalign: interrupted", (after, stderr)
        assert AlignmentReport.load(folder / "out").measured == ["nasca", "mexa"]
        assert not [path for path in (folder / "out").iterdir() if path.name.startswith(".")]
    assert interrupted >= 0.4 * count  # a machine that others leave free meanwhile is twice as fast


@pytest.mark.parametrize("after", [0.0, 0.05])
@pytest.mark.parametrize("arguments", [("--help",), ("doctor",)])
def test_while_it_starts(tmp_path, arguments, after):
    """In 0.1.0 the handler came after all imports: the first moments of any command ended in a traceback."""
    code, stderr = interrupt(begin(*arguments, cwd=tmp_path), after)
    assert (code, stderr) in ((130, "xalign: interrupted\n"), (0, ""))


SWALLOWED = {
    "another exception": "raise RuntimeError('lost in C++') from None",
    "nothing at all": "return None",
}


@pytest.mark.parametrize("outcome", SWALLOWED)
def test_where_something_in_between_swallows_it(tmp_path, outcome):
    """Code that turned the interrupt into an error of its own made exit code 1 of it, with its message."""
    script = f"""
import os, signal, sys
os.write(1, b"begun\\n")
import xalign.cli.app as app, xalign.cli
def verb() -> None:
    try:
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000): pass
    except KeyboardInterrupt:
        {SWALLOWED[outcome]}
app._verb(verb)
sys.argv = ["xalign", "verb"]
sys.exit(xalign.cli.main())
"""
    process = begin(cwd=tmp_path, script=script)
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (130, b"xalign: interrupted\n")


def test_inside_a_destructor(tmp_path):
    """Python prints an exception in `__del__` and goes on: the interrupt was lost, and a traceback shown."""
    script = """
import os, signal, sys, time
os.write(1, b"begun\\n")
import xalign.cli.app as app, xalign.cli
class Held:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000): pass
def verb() -> None:
    held = Held()
    del held
    time.sleep(60)
app._verb(verb)
sys.argv = ["xalign", "verb"]
sys.exit(xalign.cli.main())
"""
    process = begin(cwd=tmp_path, script=script)
    _, stderr = process.communicate(timeout=50)
    assert (process.returncode, stderr) == (130, b"xalign: interrupted\n")


def test_a_process_that_ignores_sigint_goes_on(tmp_path):
    """What `nohup` and background jobs ask for is respected."""
    script = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)" + SCRIPT
    code, stderr = interrupt(begin("--version", cwd=tmp_path, script=script), 0)
    assert (code, stderr) == (0, "")


def test_while_python_ends(tmp_path):
    """Python puts the system's own handling back before it is gone, which killed the process with -2."""
    script = """
import os, sys, time
class Last:
    def __del__(self, write=os.write, sleep=time.sleep):
        write(1, b"begun\\n")
        sleep(0.5)
sys.last = Last()
sys.argv = ["xalign", "nothing"]
from xalign.cli import main
main()
"""
    code, _ = interrupt(begin(cwd=tmp_path, script=script), 0.1)
    assert code == 2
