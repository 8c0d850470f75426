"""A user's own tracker gets pictures and tables, beside those of `report_to`."""

from dataclasses import replace

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import TrainerCallback

from tests.monitor.training import make_trainer
from xalign import AlignmentCallback, load_pairs
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.metrics.metric import Metric
from xalign.monitor.report_log import Trackers
from xalign.trackers import TRACKERS
from xalign.trackers.tracker import Tracker


class Notebook:
    """What a tracker was given."""

    def __init__(self):
        self.images, self.tables = [], []


def tracker_of(notebook, callback=None, **changes):
    return Tracker(
        "notebook",
        callback,
        run=lambda callback: notebook,
        log_image=lambda run, key, pixels, step: run.images.append((key, pixels, step)),
        log_table=lambda run, key, columns, rows, step: run.tables.append((key, columns, rows, step)),
        **changes,
    )


@pytest.fixture(scope="module")
def pairs():
    return load_pairs("bundled", ["deu_Latn", "spa_Latn"], n=10)


def lead(similarity):
    return similarity.diagonal() - similarity.mean(dim=1)


LEAD = Metric("lead", "Lead", "hidden", lead, bounds=None, has_floor=False)


@pytest.mark.thorough
def test_it_gets_pictures_and_tables(pairs, capsys):
    notebook, prepared = Notebook(), []

    def prepare(report_to):
        prepared.append(list(report_to))
        return "notebook: a fresh page"

    trainer = make_trainer()
    callback = AlignmentCallback(
        *(trainer, pairs),
        every=2,
        heatmap_every=2,
        log_text=True,
        trackers=(tracker_of(notebook, prepare=prepare),),
    )
    trainer.add_callback(callback)
    trainer.train()
    assert prepared == [[]]
    assert "notebook: a fresh page" in capsys.readouterr().out
    assert [(key, step) for key, _, step in notebook.images] == [
        ("alignment/heatmap_nasca", step) for step in (0, 3, 6)
    ]
    for _, pixels, _ in notebook.images:
        assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
    assert len(np.unique(notebook.images[0][1])) > 10  # something is drawn
    (last, worst) = notebook.tables
    assert (last[0], last[3]) == ("alignment/last", 6)
    report = callback.reports[-1]
    assert [row[:3] for row in last[2]] == [
        ["nasca", code, report.score("nasca", code)] for code in report.languages
    ]
    assert worst[0] == "alignment/worst_pairs"
    sentences = {row[-1] for row in worst[2] if row[1] == "deu_Latn"}
    assert sentences == set(pairs["deu_Latn"].sentences)


def test_what_a_metric_does_not_have_is_none(pairs):
    notebook, trainer = Notebook(), make_trainer(evaluate=False)
    callback = AlignmentCallback(trainer, pairs, metrics=[LEAD], trackers=[tracker_of(notebook)])
    callback._bound.run._report_log._trackers.heatmap = lambda *about: None  # the table is what is looked at
    trainer.add_callback(callback)
    trainer.train()
    ((_, columns, rows, _),) = notebook.tables
    shown = [dict(zip(columns, row, strict=True)) for row in rows]
    assert [(row["floor"], row["chance"]) for row in shown] == [(None, None)] * 2
    assert all(isinstance(row["score"], float) for row in shown)


def test_beside_the_trackers_of_report_to(pairs, monkeypatch):
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "board")
    notebook, trainer = Notebook(), make_trainer(report_to="tensorboard")
    trainer.add_callback(AlignmentCallback(trainer, pairs, trackers=[tracker_of(notebook)]))
    trainer.train()
    events = EventAccumulator("board").Reload()
    assert [image.step for image in events.Images("alignment/heatmap_nasca")] == [6]
    assert [step for _, _, step in notebook.images] == [6]


class NotebookCallback(TrainerCallback):
    """The trainer's side of such a tracker."""


def test_its_callback_shows_that_it_is_in_use():
    notebook, given = Notebook(), []

    def run(callback):
        given.append(callback)
        return notebook

    tracker = replace(tracker_of(notebook, "NotebookCallback"), run=run)
    Trackers([TrainerCallback()], [tracker]).table("key", ["column"], [[1]], 0)
    assert given == [] == notebook.tables
    own = NotebookCallback()
    Trackers([TrainerCallback(), own], [tracker]).table("key", ["column"], [[1]], 0)
    assert given == [own]
    assert notebook.tables == [("key", ["column"], [[1]], 0)]
    Trackers([own], [replace(tracker, run=lambda callback: None)]).table("key", ["column"], [[2]], 1)
    assert len(notebook.tables) == 1  # no run, nothing logged


def test_one_of_the_same_name_replaces_the_known_one():
    notebook = Notebook()
    own = replace(tracker_of(notebook), name="tensorboard")

    class TensorBoardCallback(TrainerCallback):
        tb_writer = None  # would fail if it were used

    Trackers([TensorBoardCallback()], [own]).table("key", ["column"], [[1]], 0)
    assert notebook.tables == [("key", ["column"], [[1]], 0)]


def test_a_table_for_tensorboard():
    written = []

    class Writer:
        def add_text(self, *about):
            written.append(about)

    TRACKERS["tensorboard"].log_table(Writer(), "key", ["name", "floor"], [["a|b", 0.25], ["c", None]], 3)
    assert written == [("key", "| name | floor |\n| --- | --- |\n| a∣b | 0.250 |\n| c | – |", 3)]


def test_every_known_tracker_stands_under_its_name():
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    for name, tracker in TRACKERS.items():
        assert tracker.name == name
        assert INTEGRATION_TO_CALLBACK[name].__name__ == tracker.callback


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"name": ""}, ArgumentError, "name='' of a Tracker must not be empty"),
        ({"name": None}, ArgumentTypeError, "name=None of a Tracker must be text"),
        ({"callback": NotebookCallback}, ArgumentTypeError, "callback=.* of a Tracker must be text"),
        ({"run": None}, ArgumentTypeError, "run=None of Tracker 'notebook' must be a function"),
        ({"log_table": "table"}, ArgumentTypeError, "log_table='table' of Tracker 'notebook'"),
    ],
)
def test_bad_trackers(changes, error, message):
    with pytest.raises(error, match=message):
        replace(tracker_of(Notebook()), **changes)


@pytest.mark.parametrize("trackers", [("wandb",), tracker_of(Notebook()), [None]])
def test_built_the_callback_checks_them(trackers, pairs):
    with pytest.raises(ArgumentTypeError, match="must be a list of Tracker objects"):
        AlignmentCallback(make_trainer(), pairs, trackers=trackers)


@pytest.mark.thorough
@pytest.mark.parametrize("broken", ["run", "log_image", "log_table"])
def test_a_tracker_that_fails_does_not_end_the_run(pairs, broken):
    notebook, failing = Notebook(), Notebook()

    def fails(*arguments):
        raise RuntimeError("no connection")

    trainer = make_trainer(evaluate=False, max_steps=3)
    bad = replace(tracker_of(failing), name="bad", **{broken: fails})
    callback = AlignmentCallback(
        trainer, pairs, every=1, heatmap_every=1, trackers=(bad, tracker_of(notebook))
    )
    trainer.add_callback(callback)
    with pytest.warns(UserWarning, match=r"tracker 'bad' failed \(RuntimeError: no connection\)") as warned:
        trainer.train()
    assert sum("tracker 'bad' failed" in str(one.message) for one in warned) == 1  # said once
    assert trainer.state.global_step == 3
    assert len(notebook.images) == 4 and len(notebook.tables) == 1  # the others go on


def test_two_trackers_of_one_name_are_refused(pairs):
    with pytest.raises(ArgumentError, match="trackers: two have one name, of notebook, notebook"):
        Trackers([], [tracker_of(Notebook()), tracker_of(Notebook())])
