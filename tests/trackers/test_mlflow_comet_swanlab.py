"""MLflow, Comet and SwanLab: by their interfaces here, and by the real packages, offline, where installed.

The scripts ran against mlflow-skinny 3.17.2, comet_ml 3.58.8 and swanlab 0.10.3.
"""

import csv
import io
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest

from tests.tiny import ROOT
from xalign.trackers import TRACKERS

PIXELS = np.zeros((4, 5, 3), dtype=np.uint8)
COLUMNS = ["metric", "language", "score", "floor"]
ROWS = [["nasca", "deu_Latn", 0.5, None], ["a,b", "spa_Latn", 0.25, 0.1]]


class Recorded:
    """An object whose methods keep what they are called with."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **options: self.calls.append((name, args, options))


def test_mlflow(monkeypatch):
    run = Recorded()
    tracker = TRACKERS["mlflow"]
    tracker.log_image(run, "alignment/heatmap_mine=2", PIXELS, 3)
    tracker.log_table(run, "alignment/last", COLUMNS, ROWS, 6)
    tracker.log_config(run, {"align_weight": 0.5})
    image, table, config = run.calls
    assert image[0] == "log_image" and image[1][0] is PIXELS
    assert image[2] == {"key": "alignment/heatmap_mine_2", "step": 3}  # MLflow allows no =
    name, (text, path), _ = table
    assert (name, path) == ("log_text", "alignment/last-00000006.csv")
    assert list(csv.reader(io.StringIO(text))) == [
        COLUMNS,
        ["nasca", "deu_Latn", "0.5", ""],
        ["a,b", "spa_Latn", "0.25", "0.1"],
    ]
    assert config == ("log_params", ({"align_weight": 0.5},), {})
    for active, expected in ((None, None), (object(), "module")):
        module = SimpleNamespace(active_run=lambda active=active: active)
        monkeypatch.setitem(sys.modules, "mlflow", module)
        assert tracker.run(None) is (module if expected else None)


def test_comet():
    run = Recorded()
    tracker = TRACKERS["comet_ml"]
    assert tracker.run(SimpleNamespace(_experiment=run)) is run
    assert tracker.run(SimpleNamespace(_experiment=None)) is None
    tracker.log_image(run, "alignment/heatmap_nasca", PIXELS, 3)
    tracker.log_table(run, "alignment/last", COLUMNS, ROWS, 6)
    tracker.log_config(run, {"align_weight": 0.5})
    assert run.calls == [
        ("log_image", (PIXELS,), {"name": "alignment/heatmap_nasca", "step": 3}),
        ("log_table", ("alignment/last-00000006.csv", ROWS), {"headers": COLUMNS}),
        ("log_parameters", ({"align_weight": 0.5},), {}),
    ]


def test_swanlab(monkeypatch):
    logged, configs, tables = [], {}, []

    class Table:
        def add(self, headers, rows):
            tables.append((headers, rows))

    def no_run():
        raise RuntimeError("No active Run. Call swanlab.init() first.")

    module = SimpleNamespace(
        get_run=no_run,
        Image=lambda pixels: ("image", pixels.shape),
        echarts=SimpleNamespace(Table=Table),
        log=lambda values, step: logged.append((values, step)),
        config=configs,
    )
    monkeypatch.setitem(sys.modules, "swanlab", module)
    tracker = TRACKERS["swanlab"]
    assert tracker.run(None) is None
    module.get_run = lambda: None  # before 0.10
    assert tracker.run(None) is None
    module.get_run = object
    assert tracker.run(None) is module
    tracker.log_image(module, "alignment/heatmap_nasca", PIXELS, 3)
    tracker.log_table(module, "alignment/last", COLUMNS, ROWS, 6)
    tracker.log_config(module, {"align_weight": 0.5})
    assert logged[0] == ({"alignment/heatmap_nasca": ("image", (4, 5, 3))}, 3)
    assert logged[1][1] == 6 and isinstance(logged[1][0]["alignment/last"], Table)
    assert tables == [(COLUMNS, ROWS)] and configs == {"align_weight": 0.5}


TRAIN = """
import json
from tests.monitor.training import make_trainer
from xalign import AlignmentCallback, load_pairs

def train(tracker):
    trainer = make_trainer(report_to=tracker, run_name="tracked")
    pairs = load_pairs("bundled", ["deu_Latn", "spa_Latn"], n=10)
    trainer.add_callback(AlignmentCallback(trainer, pairs, every=2, heatmap_every=2))
    trainer.train()
"""
OFFLINE = {
    "mlflow": TRAIN
    + """
train("mlflow")
import mlflow

client = mlflow.MlflowClient()
(run,) = client.search_runs(["0"])
paths, folders = [], [None]
while folders:
    for one in client.list_artifacts(run.info.run_id, folders.pop()):
        (folders if one.is_dir else paths).append(one.path)
curve = client.get_metric_history(run.info.run_id, "eval_nasca")
pictures = [one for one in paths if one.endswith(".png")]
assert [one.step for one in curve] == [0, 2, 3, 4, 6]
table = next(one for one in paths if one.endswith("last-00000006.csv"))
print(json.dumps({"every": run.data.params["measure_every"], "pictures": len(pictures), "table": table}))
""",
    "comet_ml": """
import comet_ml
"""
    + TRAIN
    + """
import glob, zipfile

train("comet_ml")
comet_ml.get_global_experiment().end()
with zipfile.ZipFile(glob.glob("comet/*.zip")[0]) as archive:
    messages = [json.loads(line)["payload"] for line in archive.open("messages.json")]
parameters = {one["param"]["paramName"]: one["param"]["paramValue"] for one in messages if "param" in one}
files = [one["additional_params"] for one in messages if one.get("additional_params")]
pictures = [one for one in files if one.get("figName") == "alignment/heatmap_nasca"]
table = next(one["fileName"] for one in files if "last" in one.get("fileName", ""))
assert [one["step"] for one in pictures] == [0, 3, 6]
print(json.dumps({"every": str(parameters["measure_every"]), "pictures": len(pictures), "table": table}))
""",
    "swanlab": TRAIN
    + """
import pathlib, swanlab, yaml

swanlab.init(project="xalign-test", mode="offline")
train("swanlab")
swanlab.finish()
(config,) = pathlib.Path("swan").rglob("config.yaml")
every = yaml.safe_load(config.read_text())["measure_every"]
every = every["value"] if isinstance(every, dict) else every
pictures = len(list(pathlib.Path("swan").rglob("media/image/*.png")))
(table,) = pathlib.Path("swan").rglob("media/echarts/*.json")
assert "deu_Latn" in table.read_text()
print(json.dumps({"every": str(every), "pictures": pictures, "table": "last-00000006.csv"}))
""",
}


@pytest.mark.parametrize("name", OFFLINE)
def test_the_real_package_offline(name, tmp_path):
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    environment = os.environ | {
        "HOME": str(tmp_path),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "MLFLOW_TRACKING_URI": (tmp_path / "mlruns").as_uri(),
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "COMET_START_ONLINE": "0",
        "COMET_API_KEY": "x" * 25,
        "COMET_OFFLINE_DIRECTORY": str(tmp_path / "comet"),
        "SWANLAB_LOG_DIR": str(tmp_path / "swan"),
    }
    command = [sys.executable, "-c", OFFLINE[name]]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "failed" not in done.stderr, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["every"] == "2" and found["pictures"] == 3
    assert found["table"].endswith("last-00000006.csv")
