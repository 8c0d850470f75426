"""`xalign bench steer`: a table, a picture, and one line per mistake."""

import json

import pytest

from tests.cli.typed import xalign
from xalign.judging.bench import Standing

TWO = ("--languages", "deu,spa", "--n", 32, "--seeds", 1, "--max-new-tokens", 3)


@pytest.mark.thorough
def test_the_ranking_is_shown_and_written(model_folder, tmp_path):
    out = tmp_path / "bench"
    done = xalign("bench", "steer", model_folder, *TWO, "--methods", "mean_difference-0.5", "--out", out)
    assert done.exit_code == 0, done.stderr
    assert "mean_difference-0.5, spa_Latn:" in done.stdout
    assert "beats random in" in done.stdout
    standing = Standing.load(out / "bench.json")
    assert {row["contestant"] for row in standing.rows} == {"none", "mean_difference-0.5"}
    assert (out / "bench.png").read_bytes().startswith(b"\x89PNG")
    again = xalign("bench", "steer", model_folder, *TWO, "--out", out)
    assert again.exit_code == 2
    assert "holds a bench already" in again.stderr


@pytest.mark.thorough
def test_as_json(model_folder, tmp_path):
    options = ("--methods", "mean_difference-0.5", "--out", tmp_path / "bench", "--json")
    done = xalign("bench", "steer", model_folder, *TWO, *options)
    assert done.exit_code == 0, done.stderr
    ranking = json.loads(done.stdout)
    assert {row["contestant"] for row in ranking} == {"none", "mean_difference-0.5"}


def test_mistakes_are_one_line(model_folder, tmp_path):
    for options, message in (
        (("--methods", "magic"), "must be one of mean_difference-0.25"),
        (("--prompt", "Translate"), "must hold {text}"),
        (("--stop", "<nothing>"), "is no token of this tokenizer"),
        (("--max-new-tokens", 0), "max_new_tokens=0"),
    ):
        done = xalign("bench", "steer", model_folder, *TWO, *options, "--out", tmp_path / "bench")
        assert done.exit_code == 2, done.stdout
        assert message in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
        assert not (tmp_path / "bench").exists()
