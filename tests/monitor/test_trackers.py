"""What trackers are given: read back from W&B offline, trackio's own store, and TensorBoard."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

from tests.monitor.training import make_trainer
from tests.tiny import ROOT
from tests.wandb_files import offline_run
from xalign import AlignmentCallback, load_pairs
from xalign.monitor import report_log
from xalign.monitor.report_log import scores_table, worst_pairs_table
from xalign.monitor.scalars import MOST_LANGUAGES, pooled_only


@pytest.fixture(scope="module")
def pairs():
    return load_pairs("bundled", ["deu_Latn", "spa_Latn"], n=10)


def trained(pairs, tracker, folder="run", **options):
    trainer = make_trainer(report_to=tracker, folder=folder, project="xalign-test", run_name="tracked")
    callback = AlignmentCallback(trainer, pairs, every=2, heatmap_every=2, **options)
    trainer.add_callback(callback)
    trainer.train()
    return trainer, callback


def config_of(records):
    found = {}
    for record in records:
        found |= record["config"]["update"] if record["type"] == "config" else {}
    return found


@pytest.mark.thorough
@pytest.mark.parametrize("log_text", [False, True])
def test_wandb_offline(pairs, log_text, wandb_here):
    import wandb

    trainer, callback = trained(pairs, "wandb", log_text=log_text)
    wandb.finish()
    folder, records = offline_run(Path())
    text = json.dumps(records, ensure_ascii=False)
    rows = [record["history"]["item"] for record in records if record["type"] == "history"]
    found = {}
    for values in rows:
        found.setdefault(int(values["train/global_step"]), {}).update(values)
    assert sorted(step for step in found if "eval/nasca" in found[step]) == [0, 2, 3, 4, 6]
    for report in callback.reports:  # steps line up with the trainer's
        assert found[report.step]["eval/nasca_deu_Latn"] == pytest.approx(report.score("nasca", "deu_Latn"))
    config = config_of(records)
    assert config["measure_every"] == 2 and config["measure_languages"] == "deu_Latn,spa_Latn"
    pictures = [step for step in found if any("alignment/heatmap_nasca" in key for key in found[step])]
    assert sorted(pictures) == [0, 3, 6]  # every second measurement, and the last
    assert len(list((folder / "files" / "media" / "images").rglob("*.png"))) == 3
    tables = list((folder / "files" / "media" / "table").rglob("*.json"))
    assert len(tables) == 1 + log_text
    written = text + "".join(path.read_text() for path in tables)
    sentences = [text for bitext in pairs.values() for text in (*bitext.sentences, *bitext.pivot_sentences)]
    assert any(json.dumps(s)[1:-1] in written or s in written for s in sentences) == log_text


@pytest.mark.thorough
def test_trackio(pairs, monkeypatch, tmp_path):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    import sqlite3

    import trackio  # noqa: F401

    for name in ("TRACKIO_DIR", "MEDIA_DIR"):
        for module in [module for key, module in sys.modules.items() if key.startswith("trackio")]:
            if hasattr(module, name):
                own = tmp_path / "trackio" / ("media" if name == "MEDIA_DIR" else "")
                monkeypatch.setattr(module, name, own)
    _, callback = trained(pairs, "trackio")
    (store,) = (tmp_path / "trackio").glob("xalign-test*.db")
    rows = sqlite3.connect(store).execute("select metrics from metrics").fetchall()
    logged = [json.loads(row[0]) for row in rows]
    curve = {row["train/global_step"]: row["eval/nasca"] for row in logged if "eval/nasca" in row}
    assert curve == {report.step: report.score() for report in callback.reports}
    (config,) = sqlite3.connect(store).execute("select config from configs").fetchone()
    assert json.loads(config)["measure_every"] == 2
    pictures = [row["train/global_step"] for row in logged if "alignment/heatmap_nasca" in row]
    assert pictures == [0, 3, 6]
    assert [row["train/global_step"] for row in logged if "alignment/last" in row] == [6]


@pytest.mark.thorough
def test_tensorboard(pairs):
    trained(pairs, "tensorboard", log_text=True)
    (board,) = {path.parent for path in Path(".").rglob("events.out*")}  # all in one run
    events = EventAccumulator(str(board)).Reload()
    assert [image.step for image in events.Images("alignment/heatmap_nasca")] == [0, 3, 6]
    (last,) = events.Tensors("alignment/last/text_summary")
    shown = last.tensor_proto.string_val[0].decode()
    assert last.step == 6
    assert "| nasca | deu_Latn |" in shown and len(shown.splitlines()) == 4
    (shown,) = events.Tensors("alignment/config/text_summary")
    assert b"| measure_every | 2 |" in shown.tensor_proto.string_val[0]
    started = metadata.parse_session_start_info_plugin_data(
        events.summary_metadata[metadata.SESSION_START_INFO_TAG].plugin_data.content
    )
    assert started.hparams["measure_every"].number_value == 2
    (worst,) = events.Tensors("alignment/worst_pairs/text_summary")
    assert pairs["deu_Latn"].sentences[0] in worst.tensor_proto.string_val[0].decode()


def test_nothing_is_drawn_without_a_tracker(pairs, monkeypatch):
    monkeypatch.setattr(report_log, "_pixels", lambda figure: pytest.fail("drawn"))
    trained(pairs, "none")


def run_for_itself(script, folder, **environment):
    """A script with a home of its own, in which nobody has logged in anywhere."""
    known = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "NETRC"))}
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    own = known | {"HOME": str(folder), "PYTHONPATH": path} | environment
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=own, cwd=folder)


HIDDEN = """
import sys
from importlib.machinery import PathFinder

class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = name.partition(".")[0] in ("wandb", "trackio", "tensorboard", "tensorboardX")
        return None if hidden else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Hiding
"""


@pytest.mark.thorough
def test_where_no_tracker_is_installed(tmp_path):
    """The trainer says what is missing; with those there are, none, the callback works."""
    script = f"""{HIDDEN}
from tests.monitor.training import make_trainer
from xalign import AlignmentCallback, load_pairs

for tracker in ("wandb", "trackio", "tensorboard"):
    try:
        make_trainer(report_to=tracker)
    except RuntimeError as error:
        print("refused:", error)
trainer = make_trainer(report_to="all")
pairs = load_pairs("bundled", ["deu_Latn"], n=8)
trainer.add_callback(AlignmentCallback(trainer, pairs, every=3, heatmap_every=1, log_text=True))
trainer.train()
assert not any(name in sys.modules for name in ("wandb", "trackio", "tensorboard"))
print("measured:", [row["step"] for row in trainer.state.log_history if "eval_nasca" in row])
"""
    done = run_for_itself(script, tmp_path)
    assert done.returncode == 0, done.stderr
    refused = [line for line in done.stdout.splitlines() if line.startswith("refused:")]
    assert len(refused) == 3 and all("install" in line for line in refused)
    assert "measured: [0, 3, 6]" in done.stdout


def test_without_matplotlib_it_is_said_once(pairs, monkeypatch):
    from xalign.errors import MissingExtraError
    from xalign.results.report import AlignmentReport

    def missing(self, metric):
        raise MissingExtraError("figures need matplotlib: pip install -e '.[plot]'")

    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "board")
    monkeypatch.setattr(AlignmentReport, "figure", missing)
    with pytest.warns(UserWarning, match="no heatmaps in the trackers: figures need matplotlib") as said:
        trained(pairs, "tensorboard")
    assert len([one for one in said if "no heatmaps" in str(one.message)]) == 1


def test_the_worst_pairs_are_the_worst(pairs):
    trainer = make_trainer(evaluate=False)
    callback = AlignmentCallback(trainer, pairs, metrics=("margin",))
    report = callback._monitor.measurement.run(0)
    columns, rows = worst_pairs_table(report, most=3)
    german = [row for row in rows if row[1] == "deu_Latn"]
    scores = report.per_pair("margin", "deu_Latn")
    assert [row[3] for row in german] == sorted(scores)[:3]
    place = int(np.argmin(scores))
    assert german[0][4:] == [pairs["deu_Latn"].pivot_sentences[place], pairs["deu_Latn"].sentences[place]]
    columns, rows = scores_table(report)
    assert len(rows) == 2 and len(columns) == len(rows[0])


def test_many_languages_give_way_to_a_table():
    languages = [f"l{number:02d}_Latn" for number in range(MOST_LANGUAGES + 1)]
    values = {"nasca": 0.5, "nasca_worst": 0.1} | {f"nasca_{code}": 0.5 for code in languages}
    assert pooled_only(values, languages) == {"nasca": 0.5, "nasca_worst": 0.1}
    assert pooled_only(values, languages[:-1]) == values
    kept = f"nasca_{languages[3]}"  # by which a best model is selected
    assert pooled_only(values, languages, {kept}) == {"nasca": 0.5, "nasca_worst": 0.1, kept: 0.5}


WITHOUT_LOGIN = """
import wandb
from tests.monitor.training import make_trainer
from xalign import AlignmentCallback, load_pairs

pairs = load_pairs("bundled", ["deu_Latn"], n=8)
for folder in ("one", "two"):
    trainer = make_trainer(report_to="wandb", folder=folder, evaluate=False)
    trainer.add_callback(AlignmentCallback(trainer, pairs, every=3))
    trainer.train()
    wandb.finish()
"""


@pytest.mark.thorough
def test_wandb_without_a_login_stays_on_this_machine(tmp_path):
    done = run_for_itself(WITHOUT_LOGIN, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("W&B has no login here") == 1  # of two runs
    assert "deprecated" not in done.stderr
    assert len(list(tmp_path.glob("wandb/offline-run-*/*.wandb"))) == 2


@pytest.mark.thorough
@pytest.mark.parametrize(
    "login", ["WANDB_API_KEY", *(pytest.param(one, marks=pytest.mark.slow) for one in ("NETRC", "wrong"))]
)
def test_wandb_with_a_login_is_left_alone(login, tmp_path):
    (tmp_path / "netrc").write_text(f"machine api.wandb.ai login user password {'a' * 40}")
    set_up = {
        "WANDB_API_KEY": {"WANDB_API_KEY": "a" * 40},
        "NETRC": {"NETRC": str(tmp_path / "netrc")},
        "wrong": {"WANDB_API_KEY": "too short"},
    }
    script = """
import wandb
from xalign.trackers.wandb import go_offline_without_login
print(go_offline_without_login(["wandb"]), go_offline_without_login(["tensorboard"]))
print(wandb.setup().settings.mode)
"""
    done = run_for_itself(script, tmp_path, **set_up[login])
    assert done.stdout.split() == ["None", "None", "online"], done.stderr[-2000:]
