"""`xalign demo`, the verb: what runs after what, and one line per mistake."""

import json

import pytest
from typer.testing import CliRunner

import xalign.cli.demo as demo_module
from xalign.cli.app import app
from xalign.extras import install_command


def run(*arguments):
    return CliRunner().invoke(app, ["demo", *arguments])


@pytest.mark.parametrize("finished", [True, False])
def test_the_second_half_follows_the_first_unless_that_was_interrupted(monkeypatch, finished):
    told = []
    monkeypatch.setattr(
        "xalign.demo.emergence.emerge", lambda console, out, **how: {"interrupted": not finished}
    )
    monkeypatch.setattr("xalign.demo.improvement.improve", lambda console, out, **how: told.append(how))
    assert run("--quick", "--seed", "3").exit_code == 0
    assert told == ([{"seed": 3, "quick": True}] if finished else [])


def test_an_interruption_of_the_second_half_keeps_the_numbers_of_the_first(monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("xalign.demo.emergence.emerge", lambda console, out, **how: {"interrupted": False})
    monkeypatch.setattr("xalign.demo.improvement.improve", interrupted)
    done = run("--json")
    assert done.exit_code == 130
    assert json.loads(done.stdout) == {"seed": 0, "quick": False, "emergence": {"interrupted": False}}


def test_bad_input(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_module, "find_spec", lambda package: None)
    assert f"needs accelerate and matplotlib: {install_command('demo')}" in run().stderr
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert "demo='alignment' is not there; there is: emergence, improvement, both" in run("alignment").stderr
    (tmp_path / "file").write_text("x")
    done = run("--out", "file/below")
    assert done.exit_code == 2
    assert "cannot be written" in done.stderr
    assert run("--seed", "one").exit_code == 2
