"""`xalign track`: the checkpoints of a run, each measured once, whatever interrupts it."""

import copy
import json
import shutil
import subprocess
import sys

import pytest
import torch
from peft import LoraConfig, get_peft_model

from tests.cli.typed import xalign
from tests.tiny import make_model, make_tokenizer
from xalign import AlignmentMonitor, load_pairs, measure
from xalign.babel import load_babel, write_pairs
from xalign.errors import ReportError
from xalign.monitor.checkpoint_folders import CheckpointFolders
from xalign.monitor.track import checkpoints_of, track
from xalign.results.history import History

STEPS = (2, 4, 10)
PAIRS = load_pairs("bundled", ["deu_Latn", "rus_Cyrl"], n=10)
OPTIONS = ("--languages", "deu,rus", "--n", "10", "--metrics", "nasca,margin", "--device", "cpu")


def model_of(step):
    return make_model("llama", seed=step)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A run's folder with three checkpoints, and one that is being written."""
    folder = tmp_path_factory.mktemp("run")
    for step in (*STEPS, 12):
        place = folder / f"checkpoint-{step}"
        model_of(step).save_pretrained(place)
        make_tokenizer().save_pretrained(place)
        if step != 12:
            (place / "trainer_state.json").write_text("{}")
    (folder / "checkpoint-best").mkdir()
    return folder


@pytest.fixture
def run(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(scope="module")
def by_hand():
    return [
        row
        for step in STEPS
        for row in measure(model_of(step), make_tokenizer(), PAIRS, ["nasca", "margin"], step=step).to_rows()
    ]


@pytest.mark.thorough
def test_its_rows_are_those_of_each_checkpoint_measured_by_hand(run, by_hand):
    done = xalign("track", run, *OPTIONS)
    assert done.exit_code == 0, done.stderr
    assert History.load(run).to_rows() == by_hand
    assert [line.split(":")[0] for line in done.stdout.splitlines()[:3]] == ["step 2", "step 4", "step 10"]
    assert "emerged at" in done.stdout and "3 steps in" in done.stdout
    again = xalign("track", run, *OPTIONS)
    assert again.exit_code == 0
    assert "step 2:" not in again.stdout  # none is measured twice
    assert History.load(run).to_rows() == by_hand


@pytest.mark.thorough
@pytest.mark.parametrize("after", [0, 1, 2])
def test_interrupted_it_goes_on_where_it_was(run, by_hand, after):
    loaded = []

    def load(checkpoint):
        if len(loaded) == after:
            raise KeyboardInterrupt
        loaded.append(checkpoint)
        step = int(checkpoint.name.split("-")[1])
        return model_of(step), make_tokenizer()

    def go():
        return track(lambda: checkpoints_of(run), load, run / "alignment", PAIRS, ["nasca", "margin"])

    with pytest.raises(KeyboardInterrupt):
        go()
    assert len(History(run / "alignment" / "history.jsonl")) == after
    after = None
    assert go().to_rows() == by_hand
    assert len(loaded) == len(set(loaded)) == 3


@pytest.mark.thorough
def test_it_completes_what_a_run_has_measured(run, by_hand):
    """Steps between those of the callback, and before them."""
    history = History(run / "alignment" / "history.jsonl")
    for step in (0, 4, 6):
        history.append(measure(model_of(step), make_tokenizer(), PAIRS, ["nasca", "margin"], step=step))
    assert xalign("track", run, *OPTIONS).exit_code == 0
    found = History.load(run)
    assert found.steps == [0, 2, 4, 6, 10]
    assert [row for row in found.to_rows() if row["step"] in STEPS] == by_hand


@pytest.mark.thorough
def test_follow_waits_for_new_ones(run, by_hand, monkeypatch):
    looks = []

    def sleep(seconds):
        looks.append(seconds)
        if len(looks) == 1:
            (run / "checkpoint-12" / "trainer_state.json").write_text("{}")
        if len(looks) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("xalign.monitor.track.time.sleep", sleep)
    done = xalign("track", run, *OPTIONS, "--follow", "--poll", "7")
    assert done.exit_code == 130
    assert looks == [7.0] * 3
    assert "every 7 s; Ctrl-C ends" in done.stdout
    assert History.load(run).steps == [2, 4, 10, 12]


def state_of(step, last):
    return json.dumps({"global_step": step, "max_steps": last})


@pytest.mark.thorough
def test_follow_ends_with_the_run(run, monkeypatch):
    def sleep(seconds):
        (run / "checkpoint-12" / "trainer_state.json").write_text(state_of(12, 12))

    monkeypatch.setattr("xalign.monitor.track.time.sleep", sleep)
    done = xalign("track", run, *OPTIONS, "--follow")
    assert done.exit_code == 0
    assert "the run ended at step 12" in done.stdout
    assert History.load(run).steps == [2, 4, 10, 12]
    again = xalign("track", run, *OPTIONS, "--follow")  # started again, it has nothing to do
    assert again.exit_code == 0 and "step 12:" not in again.stdout


@pytest.mark.thorough
@pytest.mark.parametrize(("until", "steps"), [(4, [2, 4]), (3, [2])])
def test_follow_ends_at_a_step(run, until, steps, monkeypatch):
    monkeypatch.setattr("xalign.monitor.track.time.sleep", None)
    assert xalign("track", run, *OPTIONS, "--follow", "--until", until).exit_code == 0
    assert History.load(run).steps == steps


@pytest.mark.thorough
def test_follow_measures_what_other_trainers_export(run, tmp_path, monkeypatch):
    """No state says when they are done: two looks find the same."""
    for step in (2, 4):
        shutil.copytree(run / f"checkpoint-{step}", tmp_path / "verl" / f"global_step_{step}" / "huggingface")
    looks, now = [], [0.0]

    def sleep(seconds):
        looks.append(History(tmp_path / "verl" / "alignment" / "history.jsonl").steps)
        now[0] += seconds
        if len(looks) == 3:
            raise KeyboardInterrupt

    for path in (tmp_path / "verl").rglob("*"):
        path.touch()
    monkeypatch.setattr("xalign.monitor.track.time.sleep", sleep)
    monkeypatch.setattr(CheckpointFolders.__init__, "__defaults__", (lambda: now[0],))
    done = xalign("track", tmp_path / "verl", *OPTIONS, "--follow", "--poll", "11")
    assert done.exit_code == 130
    assert looks == [[], [2, 4], [2, 4]]


@pytest.mark.thorough
def test_a_checkpoint_deleted_between_listing_and_loading_is_noted(run, by_hand, monkeypatch):
    """And measured after all where it is saved again, as a run does that resumes."""
    import xalign.cli.loading as loading

    load_model = loading.load_model
    aside = run.parent / "aside"

    def deletes(name, **options):
        if name.endswith("checkpoint-4") and not aside.exists():
            (run / "checkpoint-4").rename(aside)
        return load_model(name, **options)

    def sleep(seconds):
        if (run / "checkpoint-4").exists():
            raise KeyboardInterrupt
        assert History.load(run).steps == [2, 10]
        shutil.copytree(aside, run / "checkpoint-4")

    monkeypatch.setattr(loading, "load_model", deletes)
    monkeypatch.setattr("xalign.monitor.track.time.sleep", sleep)
    with pytest.warns(UserWarning, match="step 4 is left out: .*was deleted before it was measured"):
        done = xalign("track", run, *OPTIONS, "--follow")
    assert done.exit_code == 130
    assert History.load(run).to_rows() == by_hand


@pytest.mark.thorough
def test_a_checkpoint_written_to_while_it_is_loaded_is_measured_at_the_next_look(run, by_hand, monkeypatch):
    import xalign.cli.loading as loading

    load_model, config = loading.load_model, run / "checkpoint-4" / "config.json"
    loads = []

    def writes(name, **options):
        loads.append(name)
        if len(loads) == 2:
            config.write_text(config.read_text() + "\n")
        return load_model(name, **options)

    looks = iter([None, KeyboardInterrupt])

    def sleep(seconds):
        if (stop := next(looks)) is not None:
            raise stop

    monkeypatch.setattr(loading, "load_model", writes)
    monkeypatch.setattr("xalign.monitor.track.time.sleep", sleep)
    with pytest.warns(UserWarning, match="step 4 is left out: .*was written to while it was loaded"):
        assert xalign("track", run, *OPTIONS, "--follow").exit_code == 130
    assert History.load(run).to_rows() == by_hand


@pytest.mark.thorough
def test_a_broken_checkpoint_is_said_and_left_out(run, by_hand):
    (run / "checkpoint-4" / "model.safetensors").write_bytes(b"broken")
    with pytest.warns(UserWarning, match="step 4 is left out: model .* cannot be loaded"):
        done = xalign("track", run, *OPTIONS)
    assert done.exit_code == 0
    assert History.load(run).steps == [2, 10]


def test_adapters_are_checkpoints_too(tmp_path):
    base = tmp_path / "base"
    model_of(1).save_pretrained(base)
    make_tokenizer().save_pretrained(base)
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base),
        LoraConfig(target_modules=["up_proj"], init_lora_weights=False),
    )
    place = tmp_path / "run" / "checkpoint-5"
    model.save_pretrained(place)
    (place / "trainer_state.json").write_text("{}")
    done = xalign("track", tmp_path / "run", *OPTIONS)
    assert done.exit_code == 0, done.stderr
    expected = measure(model.eval(), make_tokenizer(), PAIRS, ["nasca", "margin"], step=5).to_rows()
    assert History.load(tmp_path / "run").to_rows() == expected


@pytest.mark.thorough
def test_revisions_of_a_model(saved, by_hand, monkeypatch, tmp_path):
    import xalign.cli.loading as loading

    asked = []

    def load_model(name, *, revision, **options):
        asked.append((name, revision))
        return model_of(int(revision.removeprefix("step"))), make_tokenizer()

    monkeypatch.setattr(loading, "load_model", load_model)
    done = xalign(
        "track", "some/model", *OPTIONS, "--revisions", "step10,step2,step4", "--out", tmp_path / "out"
    )
    assert done.exit_code == 0, done.stderr
    assert asked == [("some/model", f"step{step}") for step in STEPS]
    assert History.load(tmp_path / "out").to_rows() == by_hand


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "'nowhere' is no folder; give the output_dir of a run"),
        ((".",), "holds no finished checkpoint-N"),
        ((".", "--metrics", "foo"), "holds no finished checkpoint-N"),
        ((".", "--poll", "0"), "poll=0.0 must be above 0"),
        (("m", "--revisions", "step1"), "--revisions needs --out"),
        (("m", "--revisions", "main", "--out", "o"), "'main' has no step in its name, like step1000"),
        (("m", "--revisions", "a1,b1", "--out", "o"), "'a1' and 'b1' have one step"),
    ],
)
def test_mistakes_are_one_line(arguments, message):
    done = xalign("track", *arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.thorough
def test_a_history_of_other_pairs_is_not_mixed(run, by_hand):
    assert xalign("track", run, *OPTIONS).exit_code == 0
    (run / "checkpoint-12" / "trainer_state.json").write_text("{}")
    done = xalign("track", run, "--languages", "deu,rus", "--n", "9", "--metrics", "nasca,margin")
    assert done.exit_code == 2
    assert "on other sentences than these, on 10 pairs each of deu_Latn, rus_Cyrl" in done.stderr
    assert History.load(run).to_rows() == by_hand
    (run / "checkpoint-12" / "trainer_state.json").unlink()  # nothing is left to measure: said all the same
    for options, message in [
        (("--languages", "deu"), "on other sentences than these"),
        (("--metrics", "mexa"), "nasca, margin there, mexa now"),
        (("--metrics", "foo"), "unknown; choose from nasca"),
        (("--revisions", "step12", "--out", "o"), "holds checkpoints: leave --revisions out"),
    ]:
        done = xalign("track", run, *options)
        assert done.exit_code == 2 and message in done.stderr, options
    with pytest.raises(ReportError, match="is no folder"):
        checkpoints_of(run / "none")


@pytest.mark.thorough
def test_without_options_it_measures_as_before(run):
    """On the sentences, with the metrics and the template of the callback's reports, in whatever order."""
    pairs = load_pairs("bundled", ["rus_Cyrl", "deu_Latn"]).sample(9, seed=1)
    options = {"template": "say: {text}", "pool_special_tokens": False}
    callback = AlignmentMonitor(
        model_of(0), make_tokenizer(), pairs, ["margin"], save_dir=run / "alignment", **options
    )
    callback.step(0)
    done = xalign("track", run)
    assert done.exit_code == 0, done.stderr
    expected = [
        row
        for step in (0, *STEPS)
        for row in measure(
            model_of(step), make_tokenizer(), pairs, ["margin"], step=step, **options
        ).to_rows()
    ]
    assert History.load(run).to_rows() == expected


@pytest.mark.thorough
def test_without_options_it_reads_as_before(run):
    """Where the callback read at other places than the default, or cut sentences."""
    options = {"pool": "last", "state_site": "inner", "max_length": 12}
    AlignmentMonitor(
        model_of(0), make_tokenizer(), PAIRS, ["nasca", "mexa"], save_dir=run / "alignment", **options
    ).step(0)
    done = xalign("track", run)
    assert done.exit_code == 0, done.stderr
    expected = [
        row
        for step in (0, *STEPS)
        for row in measure(
            model_of(step), make_tokenizer(), PAIRS, ["nasca", "mexa"], step=step, **options
        ).to_rows()
    ]
    assert History.load(run).to_rows() == expected


def test_metrics_that_have_no_name_are_not_for_the_command_line(run):
    def lead(similarity):
        return similarity.diagonal() - similarity.mean(dim=1)

    AlignmentMonitor(model_of(0), make_tokenizer(), PAIRS, [lead], save_dir=run / "alignment").step(0)
    done = xalign("track", run)
    assert done.exit_code == 2
    assert "metrics of your own, lead, which the command line does not know" in done.stderr
    assert History.load(run).steps == [0]


@pytest.mark.thorough
def test_killed_over_babels_checkpoints_it_measures_none_twice(tmp_path):
    """Its rows are those of each measured by hand, whatever was killed in the middle."""
    pairs = write_pairs(12, seed=0, split="held_out")
    codes = [pairs.pivot, *pairs.languages]
    lines = ["\t".join(codes)] + [
        "\t".join(row) for row in zip(*(pairs.texts[c] for c in codes), strict=True)
    ]
    (tmp_path / "pairs.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (aligned, tokenizer), (unaligned, _) = load_babel("aligned"), load_babel("unaligned")
    expected = []
    for step, share in ((100, 0.0), (200, 0.6), (300, 1.0)):
        model, other = copy.deepcopy(unaligned), dict(aligned.named_parameters())
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.lerp_(other[name], share)
        place = tmp_path / "run" / f"checkpoint-{step}"
        model.save_pretrained(place)
        tokenizer.save_pretrained(place)
        (place / "trainer_state.json").write_text("{}")
        options = {"template": "{text} <sep>", "template_pooled": True}
        expected += measure(model, tokenizer, pairs, ["nasca"], step=step, **options).to_rows()
    given = ["track", tmp_path / "run", "--pairs", tmp_path / "pairs.tsv"]
    given += ["--template", "{text} <sep>", "--template-pooled"]
    command = [sys.executable, "-u", "-c", "from xalign.cli import main; main()", *map(str, given)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout.readline().startswith("step 100")
        killed.kill()
    before = (tmp_path / "run" / "alignment" / "history.jsonl").read_bytes()
    again = xalign(*given)
    assert again.exit_code == 0, again.stderr
    assert "step 100" not in again.stdout and "step 300" in again.stdout
    assert (tmp_path / "run" / "alignment" / "history.jsonl").read_bytes().startswith(before)
    assert History.load(tmp_path / "run").to_rows() == expected
