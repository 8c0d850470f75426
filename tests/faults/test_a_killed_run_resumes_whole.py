"""A run that was killed at any moment and resumed leaves what an unbroken run leaves."""

import json
import subprocess
import sys

import pytest

from tests.tiny import ROOT

KINDS = ["callback", "keep_best", "track", "plain_loop", "accelerate"]


@pytest.mark.slow  # tests/monitor/test_resume.py kills and resumes one run in the default tests
@pytest.mark.parametrize("kills", [1, 50])
def test_history_weights_and_best_checkpoint_are_those_of_an_unbroken_run(kills, tmp_path):
    """A loop killed while it saved could not resume, and its weights were others where they had dropout."""
    command = [
        sys.executable,
        str(ROOT / "tests" / "faults" / "kills.py"),
        str(tmp_path / "runs"),
        str(kills),
    ]
    ran = subprocess.run([*command, *KINDS], capture_output=True, text=True, timeout=7200)
    assert ran.returncode == 0, ran.stderr[-3000:]
    results = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith('{"kind"')]
    assert [result["kind"] for result in results] == KINDS
    for result in results:
        assert len(result["steps"]) > 6, result
        assert (result["best"] is not None) == (result["kind"] == "keep_best"), result
        assert result["killed"] == kills, result
        assert not result["wrong"], result
