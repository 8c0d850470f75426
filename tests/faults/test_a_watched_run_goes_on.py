"""Nothing that happens while a run is measured, written down or drawn ends the run, or changes it."""

import contextlib
import dataclasses
import errno
import functools
import json
import math
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import EarlyStoppingCallback, TrainerCallback

from tests.faults.broken_disk import ERRORS, BrokenDisk, raising
from tests.monitor.training import equal_to_the_bit, make_trainer, result_of
from tests.quick import one_in
from tests.tiny import make_model, make_tokenizer
from xalign import AlignmentCallback, AlignmentMonitor, AlignmentReport, load_pairs, measure
from xalign.errors import ArgumentError, ModelError
from xalign.monitor.regression_watch import RegressionWatch
from xalign.results.history import History
from xalign.trackers.tracker import Tracker

RUN = {"evaluate": False, "max_steps": 3}
WATCH = {"every": 1, "keep_best": "nasca", "max_share": 0.9}


@functools.cache
def small_pairs():
    return load_pairs("bundled", ["deu_Latn"], n=4)


@functools.cache
def undisturbed(evaluate=False, steps=3):
    """The run without any callback."""
    trainer = make_trainer(evaluate=evaluate, max_steps=steps, folder="undisturbed", eval_steps=1)
    trainer.train()
    return result_of(trainer)


def watched(folder="run", changes=RUN, **options):
    trainer = make_trainer(folder=folder, **changes)
    callback = AlignmentCallback(trainer, small_pairs(), **(WATCH | options))
    trainer.add_callback(callback)
    return trainer, callback


def trained(trainer, strict=False):
    with raising(strict):
        trainer.train()
    return result_of(trainer)


# The file system fails.


def count_calls():
    trainer, _ = watched("counted")
    with BrokenDisk() as disk:
        trained(trainer)
    shutil.rmtree("counted")
    return disk.count


def check_broken(at, code, lasting, strict):
    folder = Path("broken")
    trainer, callback = watched(folder)
    with BrokenDisk(at, code, lasting=lasting) as disk:
        result = trained(trainer, strict)
    assert disk.failed
    assert equal_to_the_bit(result, undisturbed()), (at, code)
    assert [report.step for report in callback.reports] == [0, 1, 2, 3], (at, disk.failed)
    assert trainer.state.best_metric is not None
    if not lasting and at < 0.5 * disk.count:  # later measurements could complete what was missing
        assert History.load(folder).steps == [0, 1, 2, 3], (at, disk.failed)
        for step in range(4):
            assert AlignmentReport.load(folder / "alignment" / f"step-0000000{step}").step == step
        assert "history" not in callback.missing and "reports" not in callback.missing
    shutil.rmtree(folder, ignore_errors=True)


def places(count, total):
    return [round(total * place / count) for place in range(count)]


@pytest.mark.thorough
@pytest.mark.parametrize("count", [4, pytest.param(None, marks=pytest.mark.slow)])
def test_any_call_to_the_file_system_may_fail(count):
    """An error of the disk in 42 of 60 calls ended the run: only a few writes were guarded."""
    total = count_calls()
    assert total > 100
    for number, at in enumerate(places(count or total, total)):
        check_broken(at, ERRORS[number % 4], lasting=number % 2 == 1, strict=number % 3 == 2)


def scripted_monitor(folder, **options):
    """A monitor whose measurements are there already, so that only what it writes takes time."""
    monitor = AlignmentMonitor(
        make_model("gpt2"), make_tokenizer(), small_pairs(), save_dir=folder, **options
    )
    report = monitor.measurement.run(0)

    def at(step=None):
        return AlignmentReport(**{**vars(report), "step": step})

    monitor.measurement.run = at
    return monitor


@pytest.mark.thorough
@pytest.mark.parametrize("count", [15, pytest.param(None, marks=pytest.mark.slow)])
@pytest.mark.parametrize("lasting", [False, True])
@pytest.mark.parametrize("resumed", [False, True])
def test_what_could_not_be_written_is_written_later(count, lasting, resumed, tmp_path):
    """After an error of the disk, entries were lost, or an earlier run's history was emptied."""

    def earlier(folder):
        """A run of steps 0 to 2 that is there already."""
        first = scripted_monitor(folder)
        for step in range(3):
            first.step(step)

    def run(folder, disk):
        monitor = scripted_monitor(folder)
        first = 2 if resumed else 0
        with disk, raising(False):
            for step in range(first, first + 4):
                assert monitor.step(step) is not None
            disk.repaired = True
            monitor.step(first + 4)
        assert [report.step for report in monitor.reports] == list(range(first, first + 5))
        assert History.load(folder).steps == list(range(0 if resumed else first, first + 5)), disk.failed
        for step in range(first, first + 5):
            assert AlignmentReport.load(folder / f"step-0000000{step}").step == step
        assert not monitor.keeps_running.missing.keys() & {"history", "reports"}
        if not resumed:
            kept = [entry for path in folder.glob("earlier-*/history.jsonl") for entry in History(path).steps]
            assert kept == [0, 1, 2], (disk.at, disk.failed)

    template = tmp_path / "template"
    earlier(template)

    def copy(name):
        return Path(shutil.copytree(template, tmp_path / name))

    counted = BrokenDisk()
    run(copy("counted"), counted)
    for number, at in enumerate(places(count or counted.count, counted.count)):
        folder = copy(f"at-{at}")
        run(folder, BrokenDisk(at, ERRORS[number % 4], lasting=lasting))
        shutil.rmtree(folder)


@pytest.mark.thorough
@pytest.mark.parametrize("what", ["deleted", "file", "read only", "garbage", "report is a file", "all gone"])
@pytest.mark.parametrize("strict", [False, True], ids=["warnings", "-W error"])
def test_a_folder_that_changes_under_a_run(what, strict):
    """A deleted folder, a file in its place, or garbage in the history ended the run."""
    folder = Path("run/alignment")

    def harm():
        if what in ("deleted", "file"):
            shutil.rmtree(folder)
        if what == "all gone":
            shutil.rmtree("run")
        if what == "file":
            folder.write_text("a file")
        if what == "read only":
            folder.chmod(0o500)
        if what == "garbage":
            (folder / "history.jsonl").write_bytes(b"\x00\xff garbage\n{}\n")
        if what == "report is a file":
            (folder / "step-00000002").write_text("a file")

    class Harm(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step == 1:
                harm()

    trainer, callback = watched(keep_best=None)
    trainer.add_callback(Harm())
    result = trained(trainer, strict)
    folder.exists() and folder.is_dir() and folder.chmod(0o700)
    assert equal_to_the_bit(result, undisturbed())
    assert [report.step for report in callback.reports] == [0, 1, 2, 3]
    if what in ("deleted", "all gone"):
        assert History.load("run").steps[-2:] == [2, 3]
    if what == "report is a file":
        assert callback.missing == {"reports": [2, 3]} or callback.missing == {"reports": [2]}
        assert History.load("run").steps == [0, 1, 2, 3]
        assert AlignmentReport.load(folder / "step-00000003").step == 3


def test_the_last_measurement_is_tried_once_more():
    """What could not be written at the last measurement was never written: there was no later one."""
    folder = Path("run/alignment")
    trainer, callback = watched(keep_best=None)

    class Harm(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step == 2:
                folder.rename("run/away")
                folder.write_text("a file")

        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 3:
                seen.append(dict(callback.missing))
                folder.unlink()
                Path("run/away").rename(folder)

    seen = []
    trainer.add_callback(Harm())
    assert equal_to_the_bit(trained(trainer), undisturbed())
    assert seen == [{"history": [3], "reports": [3]}] and not callback.missing
    assert "xalign" not in trainer.state.stateful_callbacks
    assert History.load("run").steps == [0, 1, 2, 3]
    assert AlignmentReport.load(folder / "step-00000003").step == 3


def test_it_is_said_once_and_the_saved_state_says_what_is_missing(capfd):
    """A checkpoint did not tell that its run's history had holes."""
    folder = Path("run/alignment")
    trainer, callback = watched(
        changes=RUN | {"save_strategy": "steps", "save_steps": 1, "max_steps": 3}, keep_best=None
    )

    class Harm(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step == 1:
                shutil.rmtree(folder)
                folder.write_text("a file")

    trainer.add_callback(Harm())
    with (
        pytest.warns(UserWarning, match=r"reports that are not in .*history.jsonl: 2, of step 2, 3\."),
        pytest.warns(UserWarning, match=r"cannot be written.*training goes on") as said,
    ):
        trainer.train()
    ours = [str(one.message) for one in said if "training goes on" in str(one.message)]
    assert len(ours) == len(set(ours)) == 1
    state = json.loads(Path("run/checkpoint-3/trainer_state.json").read_text())
    held = state["stateful_callbacks"]["xalign"]["attributes"]["missing"]
    assert held["history"] == [2, 3] and held["reports"] == [2, 3]
    assert (
        "xalign"
        not in json.loads(Path("run/checkpoint-1/trainer_state.json").read_text())["stateful_callbacks"]
    )
    # Such a checkpoint is resumed from as any other, also where callbacks are restored.
    folder.unlink()
    resumed, _ = watched(
        changes=RUN
        | {"max_steps": 4, "save_strategy": "steps", "restore_callback_states_from_checkpoint": True},
        keep_best=None,
    )
    with raising(False):
        resumed.train(resume_from_checkpoint="run/checkpoint-3")
    assert resumed.state.global_step == 4


# Measuring fails.


class FailsAt:
    """Has measurements fail in a way, at some steps of a run."""

    def __init__(self, callback, steps, how):
        measurement = callback._monitor.measurement
        run = measurement.run

        def failing(step=None):
            if step in steps:
                how(measurement, step)
            return run(step)

        measurement.run = failing


def nan_states(measurement, step):
    """Runs the model with one weight of NaN, as a run that diverges for a moment has it."""
    parameter = next(measurement.model.parameters())
    kept = parameter.detach().clone()
    try:
        with torch.no_grad():
            parameter.fill_(math.nan)
        type(measurement).run(measurement, step)
    finally:
        with torch.no_grad():
            parameter.copy_(kept)


def raises(error):
    def how(measurement, step):
        raise error

    return how


KINDS = {
    "nan": nan_states,
    "metric": raises(ModelError("own gave values that are not finite")),
    "tokenizer": raises(RuntimeError("Already borrowed")),
    "memory": raises(torch.OutOfMemoryError("CUDA out of memory")),
    "python memory": raises(MemoryError()),
    "a warning": raises(UserWarning("raised by -W error")),
    "no text": raises(UnicodeEncodeError("utf-8", "\udc80", 0, 1, "surrogates not allowed")),
    "an error without words": raises(type("Mute", (Exception,), {"__str__": lambda self: 1 / 0})()),
    "stop iteration": raises(StopIteration()),
}


@pytest.mark.thorough
@pytest.mark.parametrize("kind", KINDS)
def test_a_measurement_that_fails(kind):
    """NaN states, a metric or tokenizer that raised, and memory that ran out ended the run."""
    trainer, callback = watched()
    FailsAt(callback, {1}, KINDS[kind])
    result = trained(trainer, strict=kind == "a warning")
    assert equal_to_the_bit(result, undisturbed())
    assert [report.step for report in callback.reports] == [0, 2, 3]
    assert History.load("run").steps == [0, 2, 3]
    assert callback.missing == {"measurements": [1]}
    assert trainer.state.stateful_callbacks["xalign"]["attributes"]["missing"] == {"measurements": [1]}


def test_what_is_said_names_no_private_class():
    """The warning named `_NotFiniteError`, a name that nobody can look up."""
    trainer, callback = watched()
    FailsAt(callback, {1}, nan_states)
    with pytest.warns(UserWarning, match=r"could not be measured \(NotFiniteError: "):
        trainer.train()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_is_meant_to_end_a_run_ends_it(error):
    """Ctrl-C while it measures must not be taken for an error of the measurement."""
    trainer, callback = watched()
    FailsAt(callback, {1}, raises(error()))
    with pytest.raises(error):
        trainer.train()


@pytest.mark.thorough
@pytest.mark.parametrize("steps", [{1}, {1, 2}, {1, 2, 3, 4}])
def test_selection_and_early_stopping_when_a_measurement_fails(steps):
    """The trainer ended the run: the value that selects its best model was not there."""
    changes = {
        "max_steps": 4,
        "eval_steps": 1,
        "save_strategy": "steps",
        "save_steps": 1,
        "metric_for_best_model": "nasca",
    }
    trainer = make_trainer(folder="run", **changes)
    trainer.add_callback(EarlyStoppingCallback(early_stopping_patience=2))
    callback = AlignmentCallback(trainer, small_pairs())
    trainer.add_callback(callback)
    FailsAt(callback, steps, raises(ModelError("NaN")))
    run = callback._monitor.measurement.run
    callback._monitor.measurement.run = lambda step=None: rising(run(step))
    result = trained(trainer)
    assert trainer.state.global_step == 4
    assert equal_to_the_bit(result, undisturbed(evaluate=True, steps=4))
    measured = [step for step in (1, 2, 3, 4) if step not in steps]
    assert trainer.state.best_global_step == (measured[-1] if measured else None)
    assert not any(type(one).__name__ == "NotMeasured" for one in trainer.callback_handler.callbacks)


def rising(report):
    """A report whose score grows with the step."""
    summary = report.summary() | {"nasca": float(report.step or 0)}
    object.__setattr__(report, "summary", lambda: summary)
    return report


@given(st.lists(st.sampled_from([*KINDS, ""]), min_size=4, max_size=4), st.booleans())
@settings(max_examples=4)
def test_any_sequence_of_failures(kinds, strict):
    """One failure was survived in some places, and the next one was not."""
    shutil.rmtree("run", ignore_errors=True)
    trainer, callback = watched()
    by_step = {step: KINDS[kind] for step, kind in enumerate(kinds) if kind}
    FailsAt(callback, by_step, lambda measurement, step: by_step[step](measurement, step))
    assert equal_to_the_bit(trained(trainer, strict), undisturbed())
    assert [report.step for report in callback.reports] == [step for step in range(4) if step not in by_step]


# Drawing and logging fail.


@pytest.mark.thorough
@pytest.mark.parametrize("method", ["run", "log_image", "log_table"])
@pytest.mark.parametrize("strict", [False, True], ids=["warnings", "-W error"])
def test_a_tracker_that_raises(method, strict):
    """With warnings raised as errors, a tracker that failed ended the run."""

    def broken(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    methods = {"run": lambda callback: [], "log_image": lambda *args: None, "log_table": lambda *args: None}
    tracker = Tracker("mine", callback=None, **methods | {method: broken})
    trainer, _ = watched(trackers=[tracker], heatmap_every=1, log_text=True)
    assert equal_to_the_bit(trained(trainer, strict), undisturbed())


@pytest.mark.thorough
@pytest.mark.parametrize("where", ["figure", "worst_pairs", "summary", "regression", "log"])
@pytest.mark.parametrize("strict", one_in(2, [True, False]), ids=["-W error", "warnings"])
def test_drawing_that_raises(where, strict, monkeypatch):
    """An error while a picture was drawn, or in the user's own function, ended the run."""

    def broken(*args, **kwargs):
        raise ValueError("cannot draw this")

    changed = []
    tracker = Tracker("mine", None, lambda callback: [], lambda *args: None, lambda *args: None)
    options = {"trackers": [tracker], "heatmap_every": 1, "log_text": True}
    if where == "regression":
        monkeypatch.setattr("xalign.monitor.regression_watch.find_regressions", broken)
    elif where == "log":

        class Breaks(TrainerCallback):
            def on_log(self, args, state, control, logs=None, **kwargs):
                if "eval_nasca" in logs:
                    changed.append(state.global_step)
                    raise ValueError("a tracker of the trainer's own")

        trainer, callback = watched(**options)
        trainer.add_callback(Breaks())
        assert equal_to_the_bit(trained(trainer, strict), undisturbed())
        assert changed
        return
    elif where != "summary":
        monkeypatch.setattr(AlignmentReport, where, broken)
    trainer, callback = watched(**options)
    if where == "summary":
        monkeypatch.setattr(AlignmentReport, "summary", broken)
    assert equal_to_the_bit(trained(trainer, strict), undisturbed())
    assert len(callback.reports) == 4


@pytest.mark.parametrize("strict", [False, True], ids=["warnings", "-W error"])
def test_names_that_cannot_be_encoded(strict):
    """A name with a lone surrogate in the model's config ended the run when its history was written."""
    trainer, callback = watched(keep_best=None)
    trainer.model.config._name_or_path = "model-\udcff"
    trainer.args.run_name = "run-\udcff"
    callback._monitor.measurement._provenance["model"] = "model-\udcff"
    assert equal_to_the_bit(trained(trainer, strict), undisturbed())
    assert [report.step for report in callback.reports] == [0, 1, 2, 3]


def test_a_plain_loop_goes_on():
    """In a loop without a trainer the same errors came out of `monitor.step`."""
    monitor = scripted_monitor(Path("alignment"))
    run = monitor.measurement.run

    def sometimes(step):
        if step == 1:
            raise ModelError("the states hold NaN")
        return run(step)

    monitor.measurement.run = sometimes
    with pytest.warns(UserWarning, match="step 1: the model could not be measured .*training goes on"):
        steps = [monitor.step(step) is not None for step in range(3)]
    assert steps == [True, False, True]
    assert History.load("alignment").steps == [0, 2]
    with pytest.raises(ArgumentError, match="n=0 is before step 2"):  # a mistake of the loop is still told
        monitor.step(0)


def test_errors_when_it_is_built_stay_errors():
    """What can be known before the first step must not be put off until then."""
    Path("taken").mkdir()
    Path("taken/alignment").write_text("a file")
    for options, folder in (({"keep_best": "naska"}, "run"), ({}, "taken"), ({"token_budget": 0}, "run")):
        with (
            pytest.raises(Exception, match="keep_best|cannot be written|token_budget"),
            warnings.catch_warnings(),
        ):
            watched(folder, **options)


# A function that measures changes in the course of a run.


class Switch:
    """Steers nothing, but is told apart by its state."""

    def __init__(self):
        self.state = 0

    def __call__(self, language):
        return contextlib.nullcontext(self.state)


def changing_run(folder, states, **options):
    """A monitor that measured each of these states at its step, and what it warned of."""
    switch = Switch()
    monitor = AlignmentMonitor(
        make_model("gpt2"), make_tokenizer(), small_pairs(), save_dir=folder, steered=switch, **options
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step, switch.state in enumerate(states):
            monitor.step(step)
        monitor.complete()
    return monitor, [str(one.message) for one in caught]


@pytest.mark.parametrize("save_reports", [True, False])
def test_a_function_that_changes_is_said_once_and_the_history_goes_on_without_it(tmp_path, save_reports):
    """The folder was said not to be writable, and every later report waited for ever to be written."""
    monitor, said = changing_run(tmp_path, [0, 0, 1, 2, 0, 0], save_reports=save_reports)
    assert [report.step for report in monitor.reports] == list(range(6))
    assert History.load(tmp_path).steps == [0, 1, 4, 5]  # those after it, measured as before, are points
    assert monitor.keeps_running.missing == {"history": [2, 3]}
    first, last = said
    assert first.startswith(f"step 2: {tmp_path / 'history.jsonl'} goes on without this report")
    assert "steered was " in first and "measured in another way" in first and "cannot be written" not in first
    assert last.startswith(f"reports that are not in {tmp_path / 'history.jsonl'}: 2, of step 2, 3.")
    for message in said:
        assert "History('other.jsonl').append(report)" in message
        assert (f"{tmp_path}/step-*" in message) == save_reports
    other = History(tmp_path / "other.jsonl")
    other.append(monitor.reports[2])  # what the warning advises
    if save_reports:
        assert AlignmentReport.load(tmp_path / "step-00000003").step == 3


def test_a_run_without_a_change_says_nothing(tmp_path):
    monitor, said = changing_run(tmp_path, [1, 1, 1])
    assert not said and not monitor.keeps_running.missing and History.load(tmp_path).steps == [0, 1, 2]


def test_numbers_before_and_after_a_change_are_not_compared():
    """A fall from one function to another was called a regression."""
    report = measure(make_model("gpt2"), make_tokenizer(), load_pairs("bundled", ["deu_Latn"]), ["nasca"])

    def scored(step, value, function):
        result = report.metrics["nasca"]
        values = {code: torch.full_like(bits, value) for code, bits in result.values.items()}
        metrics = {"nasca": dataclasses.replace(result, values=values)}
        provenance = report.provenance | {"steered": function}
        return dataclasses.replace(report, step=step, metrics=metrics, provenance=provenance)

    for functions, fell in ((["a", "a"], True), (["a", "b"], False)):
        watch = RegressionWatch(lambda *_: None)
        for step, function in enumerate(functions):
            watch.look(scored(step, 1 - step, function))
        assert bool(watch.found) == fell
