"""The demo, on few steps: what it writes, what it says, and how it ends."""

import functools
import json
import re

import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

import xalign.demo.emergence as emergence
import xalign.demo.improvement as improvement
from xalign.babel.examine import examine
from xalign.babel.pretrain import make_trainer
from xalign.babel.write import write_pairs
from xalign.cli.app import app
from xalign.demo.live import LiveTable
from xalign.results.history import History


@pytest.fixture
def few_steps(monkeypatch):
    monkeypatch.setattr(emergence, "STEPS", 40)
    monkeypatch.setattr(emergence, "QUICK_STEPS", 20)
    monkeypatch.setattr(emergence, "examine", functools.partial(examine, pairs=10))
    for half in ("emergence", "improvement"):
        few = f"xalign.demo.{half}.write_pairs"
        monkeypatch.setattr(few, lambda n, **options: write_pairs(20, **options))
    monkeypatch.setattr(improvement, "REPORTED", 12)
    monkeypatch.setattr(improvement, "CONTROL", 8)


def run(*arguments, **options):
    return CliRunner().invoke(app, ["demo", *arguments], **options)


def rows(folder):
    return History.load(folder).to_rows()


@pytest.mark.thorough
def test_what_it_writes_and_says(few_steps, tmp_path):
    done = run("emergence", "--out", "shown")
    assert done.exit_code == 0, done.output
    history = rows(tmp_path / "shown")
    assert sorted({row["step"] for row in history}) == list(range(0, 41, 2))
    assert {row["layer"] for row in history} == {0, 1, 2, 3, 4, 5, "mean"}
    assert "layers × steps" in (tmp_path / "shown" / "report.html").read_text().lower()
    with Image.open(tmp_path / "shown" / "emergence.png") as picture:
        assert picture.width > 1500
    said = " ".join(done.stdout.split())
    first, last = (
        sum(row["value"] for row in history if row["step"] == step and row["layer"] == "mean") / 4
        for step in (0, 40)
    )
    assert (
        "From step 0 to step 40, NASCA with English did not rise beyond its 95 % interval "
        f"({first:.3f} before, {last:.3f} after)"
    ) in said
    assert sum(line.startswith("- ") for line in done.stdout.splitlines()) == 4
    assert "step 40 of 40" in said


@pytest.mark.slow
def test_a_seed_gives_one_curve(few_steps, tmp_path):
    found = []
    for folder, seed in (("shown", 0), ("shown", 0), ("other", 1)):  # the second over the first one's output
        done = run("emergence", "--quick", "--out", folder, "--seed", str(seed))
        assert done.exit_code == 0, done.output
        found.append(rows(tmp_path / folder))
    assert found[0] == found[1] != found[2]


@pytest.mark.slow
def test_quick_says_that_it_shows_less(few_steps):
    done = run("emergence", "--quick")
    assert done.exit_code == 0, done.output
    assert "This was --quick, 20 of 40 steps: it shows less" in " ".join(done.stdout.split())


@pytest.mark.thorough
@pytest.mark.parametrize(("at", "code"), [(5, 0), (0, 130)])
def test_an_interruption_ends_it_with_what_it_has(few_steps, tmp_path, monkeypatch, at, code):
    from transformers import TrainerCallback

    class Interrupt(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step == at:
                raise KeyboardInterrupt

    def interrupted(*arguments, **options):
        trainer = make_trainer(*arguments, **options)
        trainer.add_callback(Interrupt())
        return trainer

    monkeypatch.setattr("xalign.demo.emergence.make_trainer", interrupted)
    done = run("--out", "shown", "--quick")
    assert done.exit_code == code
    assert "unaligned twin: measure it" not in done.stdout
    if code == 0:
        assert "interrupted at step 5; this is what there is" in done.stdout
        assert "This was --quick, 5 of 40 steps" in " ".join(done.stdout.split())
        assert sorted({row["step"] for row in rows(tmp_path / "shown")}) == [*range(6)]
    else:
        assert "xalign: interrupted" in done.stderr
        assert not list((tmp_path / "shown").iterdir())


@pytest.mark.thorough
def test_the_twin_is_measured_trained_centred_and_measured_again(few_steps, tmp_path, monkeypatch):
    monkeypatch.setattr("xalign.demo.improvement.QUICK_STEPS", 6)
    done = run("improvement", "--quick", "--out", "shown")
    assert done.exit_code == 0, done.output
    with Image.open(tmp_path / "shown" / "improvement.png") as picture:
        assert picture.width > 1000
    said = " ".join(done.stdout.split())
    for step in range(6):
        assert f"step {step}: align at " in said
    (line,) = (line for line in done.stdout.splitlines() if line.split()[:2] == ["mean", "nasca"])
    before, trained, _ = (float(number) for number in line.split()[2:5])
    assert trained > before
    assert f"NASCA, mean of 4 languages: {before:.3f} before, " in said
    assert "It took 6 steps, " in said and "Subtracting a language's mean " in said
    assert "What got worse: " in said or "Nothing surely got worse." in said
    assert "Without a prompt, " in said or "No strength tried" in said
    page = (tmp_path / "shown" / "improvement.html").read_text()
    assert '"improvement":{' in page and "Forgetting: " in page
    assert not (tmp_path / "shown" / "emergence.png").exists()


@pytest.mark.slow
def test_json_alone_on_stdout(few_steps, tmp_path, monkeypatch):
    """The numbers that tables and sentences say; these, and what a trainer prints, stand on stderr."""
    monkeypatch.setattr("xalign.demo.improvement.QUICK_STEPS", 6)
    done = run("--json", "--quick", "--out", "shown")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert list(found) == ["seed", "quick", "emergence", "improvement"]
    said = " ".join(done.stderr.split())
    emerged, improved = found["emergence"], found["improvement"]
    assert not emerged["interrupted"]
    for half, names in (
        (emerged, ["emergence.png", "history.jsonl", "report.html"]),
        (improved, ["improvement.png", "improvement.html"]),
    ):
        assert half["files"] == [f"shown/{name}" for name in names]
        assert all((tmp_path / file).is_file() for file in half["files"])

    first, last = (emerged[end]["nasca"] for end in ("first", "last"))
    assert f"({first['mean']['score']:.3f} before, {last['mean']['score']:.3f} after)" in said
    worst = last[emerged["worst"]]
    assert f"lowest: {emerged['worst']} {worst['score']:.3f}), where chance is {worst['chance']:.3f}" in said
    assert f"shared tokens alone give {last['mean']['floor']:.3f}" in said
    for code in ("spa_Latn", "deu_Latn", "rus_Cyrl", "zho_Hans"):
        low, high = last[code]["interval"]
        assert re.search(rf"{code} {last[code]['score']:.3f} \[{low:.2f}, {high:.2f}\]", said)
    transfer = {name: f"{share:.0%}" for name, share in emerged["transfer"].items()}
    assert f"recognises {transfer['aligned']} of them in the others, the twin {transfer['unaligned']}" in said
    assert f"of 20, training loss {emerged['training_loss']:.2f}" in said
    losses = emerged["models"]["unaligned"]["translation_loss"]
    assert f"{sum(losses.values()) / len(losses):.2f} against" in said

    stages, change = improved["stages"], improved["change"]["nasca"]
    assert list(stages) == ["before", "trained", "centred"]
    for sentence in improved["improvement"]["said"]:
        assert sentence in said
    assert f"{change['mean']['difference']:+.3f}" in said
    for decision in improved["decisions"]:
        assert f"step {decision['step']}: {decision['reason']}" in said
    speech = improved["speech"]
    if speech["strength"] is not None:
        assert f"{speech['before']:.0%} of its sentences are in {speech['language']}" in said
        assert f"makes it {speech['after']:.0%}; as many random neurons give {speech['random']:.0%}" in said


@pytest.mark.slow
@pytest.mark.parametrize("width", [30, 80])
def test_the_live_table_in_any_terminal(few_steps, width, monkeypatch):
    """Without colour, and narrow: it still shows every language."""
    monkeypatch.setattr(
        "xalign.cli.output.Console",
        lambda stderr: Console(stderr=stderr, force_terminal=True, width=width, no_color=True),
    )
    done = run("emergence", "--quick")
    assert done.exit_code == 0, done.output
    for start in ("spa", "deu", "rus", "zho"):
        assert start in done.stdout


def test_the_table_is_empty_before_anything_is_measured():
    class Nothing:
        reports = []

    console = Console(record=True, force_terminal=False)
    with LiveTable(console, Nothing(), 10):
        pass
    assert console.export_text() == ""
