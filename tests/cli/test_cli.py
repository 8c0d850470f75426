"""The command line, as a user types it: in a process of its own."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.cli.typed import xalign
from tests.quick import one_in
from tests.tiny import ROOT
from xalign import AlignmentReport, load_pairs
from xalign.cli.doctor import EXTRAS, NEEDED


def xalign_process(*arguments, cwd, before=""):
    """In a process of its own, with some code run first."""
    argv = ["xalign", *map(str, arguments)]
    code = f"import sys; sys.argv = {argv!r}; {before}\nfrom xalign.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, env=os.environ, timeout=240
    )


def test_version_and_help(tmp_path):
    with open(ROOT / "pyproject.toml", "rb") as file:
        expected = tomllib.load(file)["project"]["version"]
    assert xalign("--version").stdout.strip() == f"xalign {expected}"
    plain = xalign("--help")
    assert plain.exit_code == 0
    for verb in ("measure", "compare", "experts", "steer", "demo", "doctor"):
        assert verb in plain.stdout
        shown = xalign(verb, "--help")
        assert shown.exit_code == 0
        assert "Usage" in shown.stdout
    assert "--trust-remote-code" in xalign("measure", "--help").stdout


def test_doctor(tmp_path):
    done = xalign("doctor")
    assert done.exit_code == 0, done.stderr
    for part in ("torch", "xalign-lm[train]", "xalign-lm[wandb]", "devices", "200 in eng_Latn"):
        assert part in done.stdout


def test_doctor_knows_every_requirement():
    with open(ROOT / "pyproject.toml", "rb") as file:
        project = tomllib.load(file)["project"]

    def names(requirements):
        return [requirement.split(">")[0].split("[")[0] for requirement in requirements]

    assert set(NEEDED) <= set(names(project["dependencies"]))
    extras = project["optional-dependencies"]
    assert {extra: sorted(packages) for extra, packages in EXTRAS.items()} == {
        extra: sorted(names(extras[extra])) for extra in extras if extra not in ("all", "dev", "docs")
    }


def test_measure_and_compare(model_folder, tmp_path):
    common = ("measure", model_folder, "--languages", "de,zh-Hans", "--n", "12", "--device", "cpu")
    done = xalign(*common, "--metrics", "nasca,retrieval", "--out", "first")
    assert done.exit_code == 0, done.stderr
    assert "deu_Latn" in done.stdout
    assert "wrote first/nasca.png" in done.stdout
    assert "Traceback" not in done.stderr
    assert "%|" not in done.stderr  # no bar where stderr is no terminal
    report = AlignmentReport.load(tmp_path / "first")
    assert report.pairs.fingerprint == load_pairs("bundled", ["de", "zho_Hans"], n=12).fingerprint
    assert report.measured == ["nasca", "retrieval"]
    assert report.provenance["model"] == str(model_folder)
    second = xalign(
        *common, "--metrics", "nasca,retrieval", "--out", "second", "--dtype", "bfloat16", "--progress"
    )
    assert second.exit_code == 0, second.stderr
    assert "measuring" in second.stderr
    assert AlignmentReport.load(tmp_path / "second").provenance["dtype"] == "bfloat16"
    drawn = xalign("compare", "first", "second", "--out", "drawn", "--form", "svg")
    assert drawn.exit_code == 0 and "wrote drawn/nasca.svg" in drawn.stdout
    assert (tmp_path / "drawn" / "nasca.svg").read_text().lstrip().startswith("<?xml")
    compared = xalign("compare", "first", "second")
    assert compared.exit_code == 0, compared.stderr
    assert "difference" in compared.stdout
    refused = xalign(*common, "--out", "first")
    assert refused.exit_code == 2
    assert "already holds a report" in refused.stderr
    again = xalign(*common, "--metrics", "nasca", "--out", "first", "--overwrite", "--form", "pdf")
    assert again.exit_code == 0 and (tmp_path / "first" / "nasca.pdf").read_bytes().startswith(b"%PDF")
    wrong = xalign("compare", "first", "second", "--out", "drawn", "--form", "gif")
    assert wrong.exit_code == 2 and "'gif' is not one of" in wrong.stderr
    for out, metrics in (("kept", "nasca,retrieval"), ("again", "nasca")):
        done = xalign(*common, "--metrics", metrics, "--out", out, "--cache", "states")
        assert done.exit_code == 0, done.stderr
    assert AlignmentReport.load(tmp_path / "again").cost.forwards == 0


def test_measure_a_data_set_of_the_hub(model_folder, tmp_path, monkeypatch):
    """A folder of the same name in the working folder stands in for the Hub."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "someone" / "text").mkdir(parents=True)
    bundled = load_pairs("bundled", ["de"], n=8)
    rows = zip(bundled["de"].pivot_sentences, bundled["de"].sentences, strict=True)
    lines = "".join(json.dumps({"translation": {"en": a, "de": b}}) + "\n" for a, b in rows)
    (tmp_path / "someone" / "text" / "test.jsonl").write_text(lines, encoding="utf-8")
    common = ("measure", model_folder, "--metrics", "nasca", "--device", "cpu")
    done = xalign(*common, "--pairs", "hf:someone/text/test", "--out", "report")
    assert done.exit_code == 0, done.stderr
    assert AlignmentReport.load("report").pairs == bundled


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--metrics", "bleu"], 2, "metrics=['bleu'] unknown; choose from"),
        (["--metrics", ""], 2, "unknown; choose from"),
        (["--languages", "sr"], 2, "'sr' is ambiguous"),
        (["--pairs", "nowhere"], 2, "'nowhere' does not exist"),
        (
            ["--pairs", "hf:nobody/nothing"],
            2,
            "hf:nobody/nothing cannot be reached, and no copy",
        ),
        (["--pairs", "hf:nothing"], 2, "must be written like 'hf:owner/name'"),
        (["--template", "query"], 2, "must hold {text}"),
        (["--device", "cuda:7"], 2, "device='cuda:7' is not there"),
        (["--n", "500"], 2, "n=500 must lie between"),
        (["--n", "many"], 2, "valid integer"),
        (["--dtype", "int8"], 2, "'int8' is not one of"),
        (["--token-budget", "0"], 2, "token_budget=0"),
        (["--cache", "/proc/states"], 2, "cache='/proc/states' cannot be written"),
        (["--colour"], 2, "No such option"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(model_folder, tmp_path, arguments, code, message):
    done = xalign("measure", model_folder, "--out", tmp_path / "out", *arguments)
    assert done.exit_code == code
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out" / "report.json").exists()
    assert not list(tmp_path.rglob("*.png"))


def test_models_that_cannot_be_loaded(tmp_path):
    done = xalign("measure", tmp_path / "nothing")
    assert done.exit_code == 2
    assert "cannot be loaded" in done.stderr
    done = xalign("compare", tmp_path, tmp_path)
    assert done.exit_code == 2
    assert "holds no report" in done.stderr


@pytest.mark.thorough
@pytest.mark.parametrize("position", one_in(2, ["after", "before"]))
def test_tracebacks_where_asked_for(tmp_path, position):
    arguments = ["measure", tmp_path / "nothing"]
    arguments = ["--debug", *arguments] if position == "before" else [*arguments, "--debug"]
    done = xalign_process(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert "cannot be loaded" in done.stderr


def test_an_output_folder_that_cannot_be_written_fails_before_the_work(model_folder, tmp_path):
    (tmp_path / "file").write_text("x")
    done = xalign("measure", model_folder, "--out", "file/below")
    assert done.exit_code == 2
    assert "cannot be written" in done.stderr


def test_unexpected_errors_are_one_line_too(model_folder, monkeypatch):
    def surprise(*args, **kwargs):
        raise ZeroDivisionError("surprise")

    monkeypatch.setattr("xalign.model.read.Reader.read", surprise)
    done = xalign("measure", model_folder, "--n", "4", "--out", "out")
    assert done.exit_code == 1
    assert "ZeroDivisionError: surprise (xalign --debug measure … shows where)" in done.stderr
    assert not list(Path("out").iterdir())


@pytest.mark.thorough
def test_interrupted(model_folder, tmp_path):
    """Ctrl-C in the middle of measuring: one line, code 130, nothing written."""
    interrupt = (
        "import os, signal, time; from xalign.model.read import Reader; "
        "signal.signal(signal.SIGINT, signal.default_int_handler); "  # ignored in a background job
        "Reader.read = lambda *a, **k: (os.kill(os.getpid(), signal.SIGINT), time.sleep(60))"
    )
    done = xalign_process("measure", model_folder, "--out", "out", "--n", "4", cwd=tmp_path, before=interrupt)
    assert done.returncode == 130
    assert done.stderr.strip().endswith("xalign: interrupted")
    assert "Traceback" not in done.stderr
    assert not list(Path(tmp_path, "out").iterdir())
