"""`xalign sweep`: each model revision is measured once, and the table is that of reports made by hand."""

import io
import json
import shutil

import pyarrow.parquet
import pytest
import yaml

from tests.cli.typed import xalign
from tests.tiny import make_model, make_tokenizer
from xalign import AlignmentReport, load_pairs, measure
from xalign.cli.sweep_worker import run_rank, serve
from xalign.results.history import History
from xalign.sweep.spec import load_spec

STEPS = (2, 10)
PAIRS = load_pairs("bundled", ["deu_Latn", "rus_Cyrl"], n=8)
FEW = {"languages": ["deu", "rus"], "n": 8}


def model_of(step):
    return make_model("llama", seed=step)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A run with two checkpoints, and one that is being written."""
    folder = tmp_path_factory.mktemp("saved")
    for step in (*STEPS, 12):
        place = folder / "run" / f"checkpoint-{step}"
        model_of(step).save_pretrained(place)
        make_tokenizer().save_pretrained(place)
        if step != 12:
            (place / "trainer_state.json").write_text("{}")
    return folder


@pytest.fixture
def run(saved, tmp_path, monkeypatch):
    """The same in the working directory."""
    shutil.copytree(saved / "run", tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "run"


def write(given, **changes):
    spec = {"models": given, "pairs": {"few": FEW}, "metrics": ["nasca"], "device": "cpu", "out": "out"}
    with open("sweep.yaml", "w") as file:
        yaml.safe_dump(spec | changes, file)
    return "sweep.yaml"


RUN = {"model": "run", "checkpoints": "all"}


@pytest.fixture
def loads(monkeypatch):
    """The names of what is loaded."""
    import xalign.cli.sweep_worker as worker

    found, load_model = [], worker.load_model

    def load(name, **options):
        found.append(name.rpartition("/")[2])
        return load_model(name, **options)

    monkeypatch.setattr(worker, "load_model", load)
    return found


def table(folder="out"):
    return pyarrow.parquet.read_table(f"{folder}/table.parquet").to_pylist()


def test_its_rows_are_those_of_each_model_measured_by_hand(run, loads):
    done = xalign("sweep", write([RUN], pairs={"few": FEW, "fewer": FEW | {"n": 5}}))
    assert done.exit_code == 0, done.stderr
    assert "2 measured, 0 done before, 0 failed" in done.stdout
    assert loads == ["checkpoint-2", "checkpoint-10"]  # once for both pairs
    expected = []
    for name, pairs in (("few", PAIRS), ("fewer", load_pairs("bundled", list(PAIRS), n=5))):
        for step in STEPS:
            report = measure(model_of(step), make_tokenizer(), pairs, ["nasca"], step=step)
            about = {
                "folder": f"run/{name}/step-{step:08d}",
                "model": f"run/checkpoint-{step}",
                "revision": None,
            }
            about["fingerprint"] = pairs.fingerprint
            expected += [about | row | {"layer": str(row["layer"])} for row in report.to_rows()]
        assert History.load(f"out/run/{name}").steps == list(STEPS)
        assert History.load(f"out/run/{name}").report(2).pairs.fingerprint == pairs.fingerprint
    assert table() == expected
    before = (run.parent / "out" / "table.parquet").read_bytes()
    again = xalign("sweep", "sweep.yaml", "--json")
    assert again.exit_code == 0 and len(loads) == 2
    assert json.loads(again.stdout)["done_before"] == ["run/step-00000002", "run/step-00000010"]
    assert (run.parent / "out" / "table.parquet").read_bytes() == before


def test_a_torn_report_is_measured_again_and_no_other(run, loads):
    assert xalign("sweep", write([RUN])).exit_code == 0
    before = (run.parent / "out" / "table.parquet").read_bytes()
    torn = run.parent / "out" / "run" / "few" / "step-00000010" / "report.json"
    torn.write_bytes(torn.read_bytes()[:-30])
    del loads[:]
    with pytest.warns(UserWarning, match="run/step-00000010 is measured again: .*is broken"):
        done = xalign("sweep", "sweep.yaml")
    assert done.exit_code == 0 and loads == ["checkpoint-10"]
    assert (run.parent / "out" / "table.parquet").read_bytes() == before


def test_a_task_that_fails_does_not_stop_the_others(run, loads):
    """The exit code says so, and it is tried again the next time."""
    weights = run / "checkpoint-2" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(b"broken")
    done = xalign("sweep", write([RUN]))
    assert done.exit_code == 1
    assert "1 measured, 0 done before, 1 failed" in done.stdout
    assert (
        "xalign: run/step-00000002 failed: ArgumentError: model 'run/checkpoint-2' cannot be" in done.stderr
    )
    assert {row["step"] for row in table()} == {10}
    weights.write_bytes(whole)
    assert xalign("sweep", "sweep.yaml").exit_code == 0
    assert loads == ["checkpoint-2", "checkpoint-10", "checkpoint-2"]
    assert {row["step"] for row in table()} == {2, 10}


def test_what_is_missing_is_listed_before_anything_runs(run, loads):
    models = [
        RUN,
        {"model": "run", "name": "again", "checkpoints": [2, 12, 14]},
        {"model": "nowhere/run", "checkpoints": "all"},
        {"model": "some/model", "revisions": ["step1000"]},
        {"model": "run", "name": "third"},
    ]
    done = xalign("sweep", write(models))
    assert done.exit_code == 2
    assert "4 of what is to be measured is missing, so nothing was measured:" in done.stderr
    for line in (
        "- 'run' holds no finished checkpoint of step 12, 14",
        "- 'nowhere/run' is no folder; give the output_dir of a run",
        "- model 'some/model' at revision 'step1000': ",
        "- 'run' holds no config.json; for the folder of a run add checkpoints: all",
    ):
        assert line in done.stderr
    assert not loads and not (run.parent / "out").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric": ["nasca"]}, "unknown field `metric`"),
        ({"metrics": ["nasac"]}, "nasac"),
        ({"models": []}, "models is empty"),
        ({"pairs": {"a/b": {}}}, "a/b"),
        ({"pairs": {"few": {"m": 3}}}, "unknown field `m`"),
        ({"engine": "cloud"}, "cloud is unknown; choose from local, slurm, ray"),
        ({"options": {"templat": "{text}"}}, "did you mean template?"),
        ({"options": {"template": "hi"}}, "must hold {text} exactly once"),
        ({"options": {"pool": "none"}}, "pool='none'"),
        ({"workers": 0}, "0 is not allowed: Expected `int` >= 1"),
        ({"models": [RUN, RUN]}, "two would be written to run/step-"),
        ({"models": [RUN | {"revisions": ["main"]}]}, "has both revisions and checkpoints"),
        ({"models": [RUN | {"name": "../up"}]}, "name"),
    ],
)
def test_mistakes_in_the_file(run, loads, changes, message):
    done = xalign("sweep", write([RUN], **changes))
    assert done.exit_code == 2, done.stderr
    assert message in done.stderr
    assert not loads and not (run.parent / "out").exists()


def test_no_yaml(run):
    for text in ("models: [", "just text", b"\xff"):
        (run.parent / "sweep.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        assert xalign("sweep", "sweep.yaml").exit_code == 2
    assert "cannot be read as YAML" in xalign("sweep", "none.yaml").stderr


def test_revisions_and_their_steps(run, monkeypatch):
    import xalign.cli.sweep as cli
    import xalign.cli.sweep_worker as worker

    asked = []

    def load_model(name, *, revision, **options):
        asked.append((name, revision))
        return make_model("llama", seed=len(asked)), make_tokenizer()

    monkeypatch.setattr(worker, "load_model", load_model)
    monkeypatch.setattr(cli, "problem_with", lambda name, revision: None)
    models = ["some/model", {"model": "other/model", "revisions": ["step1-tokens2B", "main"]}]
    done = xalign("sweep", write(models))
    assert done.exit_code == 0, done.stderr
    assert asked == [("some/model", None), ("other/model", "step1-tokens2B"), ("other/model", "main")]
    folders = ["other--model/few/main", "other--model/few/step-00000001", "some--model/few/main"]
    assert sorted({row["folder"] for row in table()}) == folders
    assert AlignmentReport.load(f"out/{folders[1]}").provenance["revision"] == "step1-tokens2B"
    assert History.load("out/other--model/few").steps == [1]


def test_reports_that_do_not_agree_are_not_mixed(run, loads):
    assert xalign("sweep", write([RUN])).exit_code == 0
    before = table()
    for changes, message in [
        ({"metrics": ["margin"]}, "was measured with metrics=['nasca'], not ['margin']"),
        ({"options": {"pool": "last"}}, "was measured with options={}"),
        ({"dtype": "bfloat16"}, "was measured with dtype='auto'"),
        ({"pairs": {"few": FEW | {"n": 7}}}, "holds reports on other sentences as 'few'"),
    ]:
        done = xalign("sweep", write([RUN], **changes))
        assert done.exit_code == 2 and message in done.stderr
    assert len(loads) == 2 and table() == before


def test_workers_elsewhere_read_the_plan(run, loads):
    """What a worker process is given, and what a job of an array is."""
    from xalign.cli.sweep_worker import loader_of
    from xalign.sweep.plan import plan_sweep

    plan = plan_sweep(load_spec(write([RUN])), lambda name, revision: None)
    plan.save(run.parent)
    answers = io.StringIO()
    serve(str(run.parent), io.StringIO("run/step-00000002\nrun/none\n"), answers)
    found = [json.loads(line) for line in answers.getvalue().splitlines()]
    assert found[0] == {"name": "run/step-00000002", "error": None}
    assert found[1]["error"].startswith("KeyError")
    for rank in (0, 1, 1):
        run_rank(None, rank, 2, folder=str(run.parent))
    assert loads == ["checkpoint-2", "checkpoint-10"]  # the first was done, and no task is done twice
    (run / "checkpoint-2" / "config.json").unlink()
    with pytest.raises(Exception, match="cannot be loaded"):
        loader_of(plan.loading)(str(run / "checkpoint-2"), None, False)


def test_a_task_that_another_process_measures_is_left_to_it(run, loads, monkeypatch):
    from xalign.results.locks import acquire

    (run.parent / "out" / "run").mkdir(parents=True)
    lock = acquire(run.parent / "out" / "run" / ".step-00000002.lock", 0.1)
    monkeypatch.setattr("xalign.sweep.task.PATIENCE", 0.1)
    done = xalign("sweep", write([RUN]))
    assert done.exit_code == 1 and "is being measured by another process" in done.stderr
    lock.release()
    assert xalign("sweep", "sweep.yaml").exit_code == 0
    assert loads == ["checkpoint-10", "checkpoint-2"]


@pytest.mark.parametrize(("after", "code"), [(0, 2), (2, 1), (3, 1)])  # of writing the plan, then of reports
def test_a_disk_that_is_full_leaves_no_half_of_a_report(run, monkeypatch, after, code):
    import xalign.storage as storage

    written, write_file = [], storage._write

    def fill(path, data, is_forced=True):
        written.append(path)
        if len(written) > after:
            path.write_bytes(data[: len(data) // 2])
            raise OSError(28, "No space left on device")
        write_file(path, data, is_forced)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "_write", fill)
        done = xalign("sweep", write([RUN]))
    assert done.exit_code == code and "No space left on device" in done.stderr
    assert not list(run.parent.rglob(".writing-*")) and not list(run.parent.rglob("report.json"))
    assert xalign("sweep", "sweep.yaml").exit_code == 0
    assert {row["step"] for row in table()} == {2, 10}
