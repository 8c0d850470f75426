"""The callback: sees everything, changes nothing."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback

from tests.model.test_visit import count_hooks
from tests.monitor.training import dropout_is_active, equal_to_the_bit, make_trainer, result_of
from tests.quick import one_each
from tests.tiny import make_tokenizer
from xalign import AlignmentCallback, AlignmentReport, load_pairs, measure
from xalign.errors import ArgumentError, ArgumentTypeError, ReportError, XAlignError
from xalign.results.history import History

SELECTING = {
    "max_steps": 20,
    "eval_steps": 2,
    "save_strategy": "steps",
    "save_steps": 2,
    "load_best_model_at_end": True,
}


@pytest.fixture(scope="module")
def pairs():
    return load_pairs("bundled", ["deu_Latn", "spa_Latn"], n=12)


@pytest.fixture(
    autouse=True, params=["made of it", pytest.param("among its callbacks", marks=pytest.mark.slow)]
)
def way(request, monkeypatch):
    """How a callback comes to its trainer: made of it, or given to it as `Trainer(callbacks=[...])`."""
    if request.param == "among its callbacks":
        monkeypatch.setitem(globals(), "made", given_to)


def made(trainer, pairs, **options):
    return AlignmentCallback(trainer, pairs, **options)


def given_to(trainer, pairs, **options):
    """Do what a trainer does with its `callbacks` while it is made, and take it off the list again."""

    def end_of_init(self):
        self.callback_handler.on_init_end(self.args, self.state, self.control)

    if not isinstance(trainer, Trainer):
        return AlignmentCallback(trainer, pairs, **options)
    callback = AlignmentCallback(pairs, **options)
    trainer.add_callback(callback)
    try:
        end_of_init(trainer)
    finally:
        trainer.remove_callback(callback)
    return callback


def attach(trainer, pairs, **options):
    callback = made(trainer, pairs, **options)
    trainer.add_callback(callback)
    return callback


def rows_with(trainer, key):
    return [row for row in trainer.state.log_history if key in row]


class Recorder(TrainerCallback):
    """What a tracker would have been given, in order."""

    def __init__(self):
        self.logged, self.evaluated = [], []

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.logged.append((state.global_step, dict(logs)))

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        self.evaluated.append((state.global_step, dict(metrics)))


def script(callback, key, scores):
    """Puts numbers in the place of a value that is measured."""
    scripted, run = iter(scores), callback._monitor.measurement.run

    def scored(step):
        report, score = run(step), next(scripted)
        summary = report.summary()
        object.__setattr__(report, "summary", lambda: summary | {key: score})
        return report

    callback._monitor.measurement.run = scored


# In this order, every two of the three meet by default.
LORA_AND_EVALUATION = [(False, False), (False, True), (True, True), (True, False)]


@pytest.mark.parametrize(("lora", "evaluate", "kind"), one_each(LORA_AND_EVALUATION, ("trainer", "sft")))
def test_observe_only(kind, lora, evaluate, pairs):
    """Losses and final weights are equal to the bit with and without the callback."""
    plain = make_trainer(kind, lora, evaluate, folder="plain")
    assert dropout_is_active(plain)
    start = {name: p.detach().clone() for name, p in plain.model.named_parameters()}
    plain.train()
    watched = make_trainer(kind, lora, evaluate, folder="watched")
    callback = attach(watched, pairs, every=2, metrics=("nasca", "margin"))
    watched.train()
    assert [report.step for report in callback.reports] == ([0, 2, 3, 4, 6] if evaluate else [0, 2, 4, 6])
    assert len({report.score("margin") for report in callback.reports}) > 1  # it saw the weights change
    assert equal_to_the_bit(result_of(plain), result_of(watched))
    assert any(not torch.equal(start[name], p) for name, p in plain.model.named_parameters())
    assert [row["step"] for row in rows_with(watched, "loss")] == [1, 2, 3, 4, 5, 6]
    if kind == "sft":  # its running metrics are neither polluted nor cleared
        train_keys = {key for row in rows_with(watched, "loss") for key in row}
        assert not any(key.startswith("eval_") for key in train_keys)


def test_what_it_measures_is_what_measure_gives(pairs):
    trainer = make_trainer()
    callback = attach(trainer, pairs, metrics=("nasca", "retrieval"))
    trainer.train()
    expected = measure(trainer.model, make_tokenizer(), pairs, ["nasca", "retrieval"]).summary()
    assert callback.reports[-1].summary() == expected
    last = rows_with(trainer, "eval_nasca")[-1]
    assert {key: last[f"eval_{key}"] for key in expected} == expected


def test_the_row_of_the_evaluation(pairs):
    """Values stand in one row with eval_loss; rows between evaluations are its own; no step has two."""
    trainer = make_trainer()
    attach(trainer, pairs, every=2)
    trainer.train()
    rows = rows_with(trainer, "eval_nasca")
    assert [row["step"] for row in rows] == [0, 2, 3, 4, 6]
    assert [("eval_loss" in row) for row in rows] == [False, False, True, False, True]
    for row in rows:
        assert {"eval_nasca", "eval_nasca_deu_Latn", "eval_nasca_spa_Latn", "eval_nasca_worst"} <= set(row)
        assert all(type(row[key]) is float for key in row if key.startswith("eval_nasca"))
    json.dumps(trainer.state.log_history)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["trainer", "sft"])
@pytest.mark.parametrize("order", ["tracker first", "tracker last"])
def test_trackers_see_it_whatever_the_order(kind, order, pairs):
    trainer, recorder = make_trainer(kind), Recorder()
    if order == "tracker first":
        trainer.add_callback(recorder)
    attach(trainer, pairs)
    if order == "tracker last":
        trainer.add_callback(recorder)
    trainer.train()
    assert [step for step, logs in recorder.logged if "eval_loss" in logs and "eval_nasca" in logs] == [3, 6]
    assert [step for step, metrics in recorder.evaluated if "eval_nasca" in metrics] == [3, 6]
    recorder.logged.clear()
    trainer.evaluate()
    assert [("eval_nasca" in logs) for _, logs in recorder.logged] == [True]


def test_tensorboard(pairs):
    trainer = make_trainer(report_to="tensorboard")
    attach(trainer, pairs)
    trainer.train()
    (board,) = {path.parent for path in Path(".").rglob("events.out*")}
    events = EventAccumulator(str(board)).Reload()
    values = {scalar.step: scalar.value for scalar in events.Scalars("eval/nasca_deu_Latn")}
    expected = {row["step"]: row["eval_nasca_deu_Latn"] for row in rows_with(trainer, "eval_nasca")}
    assert values == pytest.approx(expected)


@pytest.mark.parametrize("order", ["stopping first", "stopping last"])
def test_early_stopping_and_best_model(order, pairs):
    """A falling score stops the run after its patience, and the best checkpoint is kept."""
    trainer = make_trainer(**SELECTING, metric_for_best_model="nasca")
    stopping = EarlyStoppingCallback(early_stopping_patience=2)
    if order == "stopping first":
        trainer.add_callback(stopping)
    callback = attach(trainer, pairs)
    if order == "stopping last":
        trainer.add_callback(stopping)
    script(callback, "nasca", [0.1, 0.2, 0.5, 0.4, 0.3, 0.2, 0.1])
    trainer.train()
    assert [row["step"] for row in rows_with(trainer, "eval_nasca")] == [0, 2, 4, 6, 8]
    assert trainer.state.global_step == 8
    assert trainer.state.best_metric == 0.5
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-4")
    assert (Path("run") / "checkpoint-4").is_dir()


def test_evaluation_outside_training(pairs):
    trainer = make_trainer()
    callback = attach(trainer, pairs)
    before = trainer.evaluate()
    assert before["eval_nasca"] == callback.report.score("nasca")
    trainer.train()
    steps = [report.step for report in callback.reports]
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    after = trainer.evaluate()
    # The weights are others now, though the step is not: it measures again, and keeps the report of the run.
    fresh = measure(trainer.model, make_tokenizer(), pairs, ["nasca"])
    assert after["eval_nasca"] == fresh.score("nasca")
    assert [report.step for report in callback.reports] == steps
    assert AlignmentReport.load("run/alignment/step-00000006").summary() == callback.reports[-1].summary()


def test_another_prefix_is_left_alone(pairs):
    trainer = make_trainer()
    callback = attach(trainer, pairs)
    metrics = trainer.evaluate(metric_key_prefix="test")
    assert not any("nasca" in key for key in metrics)
    assert not callback.reports


def test_best_weights_at_the_end_are_not_taken_for_the_last_step(pairs):
    trainer = make_trainer(
        save_strategy="steps", save_steps=3, load_best_model_at_end=True, metric_for_best_model="loss"
    )
    callback = attach(trainer, pairs, at_evaluate=False)
    trainer.train()
    assert [report.step for report in callback.reports] == [0, 6]
    assert callback.reports[-1].score("nasca") == pytest.approx(
        rows_with(trainer, "eval_nasca")[-1]["eval_nasca"]
    )


def test_best_weights_of_a_run_that_stopped_early_are_not_measured_as_its_last_step(pairs):
    trainer = make_trainer(
        max_steps=20,
        eval_steps=2,
        save_strategy="steps",
        save_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model="grows",
        greater_is_better=False,
    )

    class Grows(TrainerCallback):
        def on_evaluate(self, args, state, control, metrics=None, **kwargs):
            metrics["eval_grows"] = state.global_step

    trainer.add_callback(Grows())
    trainer.add_callback(EarlyStoppingCallback(early_stopping_patience=1))
    callback = attach(trainer, pairs, at_evaluate=False)
    trainer.train()
    assert trainer.state.global_step == 4
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-2")
    assert [report.step for report in callback.reports] == [0]


def test_a_trainer_that_logs_a_copy(pairs):
    """Best-model selection gets the values though the logged row is another dict than the metrics."""
    trainer = make_trainer(save_strategy="steps", save_steps=3, metric_for_best_model="nasca")
    log = trainer.log
    trainer.log = lambda logs, start_time=None: log(dict(logs), start_time)
    recorder = Recorder()
    attach(trainer, pairs)
    trainer.add_callback(recorder)
    trainer.train()
    assert [step for step, metrics in recorder.evaluated if "eval_nasca" in metrics] == [3, 6]
    assert trainer.state.best_metric is not None


@pytest.mark.parametrize(
    ("options", "changes", "steps"),
    [
        ({}, {}, [0, 3, 6]),
        ({"at_start": False}, {}, [3, 6]),
        ({"at_evaluate": False}, {}, [0, 6]),
        ({"at_evaluate": False, "at_end": False, "every": 4}, {}, [0, 4]),
        ({"at_start": False, "at_end": False, "every": 3}, {}, [3, 6]),
        ({"every": 1}, {"eval_steps": 2}, [0, 1, 2, 3, 4, 5, 6]),
        ({}, {"eval_on_start": True}, [0, 3, 6]),
        (
            {},
            {
                "eval_strategy": "epoch",
                "max_steps": -1,
                "num_train_epochs": 2,
                "per_device_train_batch_size": 16,
            },
            [0, 4, 8],
        ),
        (
            {"every": 4},
            {
                "eval_strategy": "epoch",
                "max_steps": -1,
                "num_train_epochs": 2,
                "per_device_train_batch_size": 16,
            },
            [0, 4, 8],
        ),
        (
            {"every": 4},
            {
                "eval_strategy": "epoch",
                "eval_delay": 2,
                "max_steps": -1,
                "num_train_epochs": 2,
                "per_device_train_batch_size": 16,
            },
            [0, 4, 8],
        ),
    ],
)
def test_when_it_measures(options, changes, steps, pairs):
    trainer = make_trainer(**changes)
    callback = attach(trainer, pairs, **options)
    trainer.train()
    assert [report.step for report in callback.reports] == steps
    assert [row["step"] for row in rows_with(trainer, "eval_nasca")] == steps


def test_a_run_that_is_stopped_is_measured_where_it_stopped(pairs):
    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_training_stop = state.global_step == 4

    trainer = make_trainer(evaluate=False)
    callback = attach(trainer, pairs)
    trainer.add_callback(Stop())
    trainer.train()
    assert [report.step for report in callback.reports] == [0, 4]


def test_training_again(pairs):
    trainer = make_trainer(evaluate=False, max_steps=2)
    callback = attach(trainer, pairs)
    trainer.train()
    with pytest.warns(UserWarning, match=r"held the measurements of an earlier run.*earlier-1 now"):
        trainer.train()
    assert [report.step for report in callback.reports] == [0, 2]
    assert History.load("run").steps == [0, 2]
    assert History.load("run/alignment/earlier-1").steps == [0, 2]


def test_no_hooks_between_measurements(pairs):
    class Watch(TrainerCallback):
        counts = set()

        def on_step_begin(self, args, state, control, model=None, **kwargs):
            self.counts.add(count_hooks(model))

        on_step_end = on_log = on_evaluate = on_step_begin

    trainer = make_trainer()
    before = count_hooks(trainer.model)
    attach(trainer, pairs, every=1)
    trainer.add_callback(Watch())
    trainer.train()
    assert Watch.counts == {before}
    assert count_hooks(trainer.model) == before


def test_reports_are_kept_beside_the_checkpoints(pairs):
    trainer = make_trainer()
    callback = attach(trainer, pairs)
    trainer.train()
    folders = sorted(path.name for path in Path("run/alignment").glob("[!.]*"))
    assert folders == ["history.jsonl", "step-00000000", "step-00000003", "step-00000006"]
    loaded = AlignmentReport.load("run/alignment/step-00000003")
    assert loaded.to_rows() == callback.reports[1].to_rows()
    assert loaded.step == 3
    other = make_trainer(folder="other")
    attach(other, pairs, save_reports=False)
    other.train()
    assert [path.name for path in Path("other/alignment").glob("[!.]*")] == ["history.jsonl"]


def test_one_line_says_what_it_costs(pairs, capsys):
    callback = made(make_trainer(), pairs)
    line = capsys.readouterr().out.strip()
    measurement = callback._monitor.measurement
    assert line == (
        f"xalign: one measurement is 2 languages × 12 pairs with eng_Latn, {measurement.tokens:,} tokens in "
        f"{measurement.forwards} forwards"
    )


def test_every_option_of_measure(pairs):
    trainer = make_trainer()
    callback = attach(
        trainer,
        pairs,
        every=3,
        template="{text} </s>",
        template_pooled=True,
        state_site="inner",
        token_budget=64,
    )
    trainer.train()
    assert callback.reports[0].provenance["template"] == "{text} </s>"
    assert callback.reports[0].metrics["nasca"].readings[0] == "0.inner:active:weighted"
    again = made(make_trainer(folder="again"), "bundled")  # what load_pairs takes
    assert len(again._monitor.measurement.pairs) == 4


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"every": 0}, ArgumentError, "every=0 must be at least 1"),
        ({"every": 2.5}, ArgumentTypeError, "every=2.5 must be a whole number"),
        ({"every": "often"}, ArgumentError, "every='often' must be a number of steps, 'auto', 'log'"),
        ({"max_share": 1.5}, ArgumentError, "max_share=1.5 must lie between 0 and 1"),
        ({"on_regression": "stop"}, ArgumentTypeError, "on_regression='stop' must be 'warn', 'ignore'"),
        ({"heatmap_every": 0}, ArgumentError, "heatmap_every=0 must be at least 1"),
        ({"name": "a b"}, ArgumentError, "name='a b' must be made of letters, digits"),
        ({"keep_best": "bleu"}, ArgumentError, "keep_best='bleu' is no value to select by; there are: nasca"),
        ({"at_evaluate": False, "at_start": False, "at_end": False}, ArgumentError, "nothing to measure at"),
        ({"metrics": ["bleu"]}, ArgumentError, "unknown; choose from nasca"),
        ({"template": "no place"}, ArgumentError, "must hold"),
        ({"pairs": "nowhere"}, XAlignError, "does not exist"),
        ({"trainer": "trainer"}, ArgumentTypeError, "must be a transformers Trainer, not str"),
    ],
)
def test_built_it_checks_what_can_go_wrong(options, error, message, pairs):
    arguments = {"trainer": make_trainer(), "pairs": pairs} | options
    with pytest.raises(error, match=message):
        made(**arguments)


def test_built_it_checks_the_trainer_too(pairs):
    trainer = make_trainer()
    trainer.processing_class = None
    with pytest.raises(ArgumentError, match="pass tokenizer="):
        made(trainer, pairs)
    assert made(trainer, pairs, tokenizer=make_tokenizer())
    trainer = make_trainer()
    trainer.args.metric_for_best_model = "eval_nasca_deu_Latn"
    assert made(trainer, pairs)
    for wrong in ({"metrics": ["mexa"]}, {"at_evaluate": False}):
        with pytest.raises(ArgumentError, match="'eval_nasca_deu_Latn' is no value of an evaluation"):
            made(trainer, pairs, **wrong)
    trainer.args.greater_is_better = False
    with pytest.raises(ArgumentError, match="would keep the model that is aligned worst"):
        made(trainer, pairs)
    trainer.args.greater_is_better = True
    unknown = ("nasca_wurst", "naska", "eval_nasca_fra_Latn", "nasca_over_base", "nasca_best_layer")
    for wrong in (*unknown, "eval/nasca_worst", "alignment_share"):
        trainer.args.metric_for_best_model = wrong
        with pytest.raises(ArgumentError, match="there are: nasca, nasca_worst, nasca_gap, nasca_deu_Latn"):
            made(trainer, pairs)
    trainer.args.metric_for_best_model = "loss"
    assert made(trainer, pairs)
    Path("taken").mkdir()
    Path("taken/alignment").write_text("a file")
    with pytest.raises(ReportError, match="cannot be written"):
        made(make_trainer(folder="taken"), pairs)


def test_a_silent_site_is_found_before_training(pairs):
    trainer = make_trainer()
    trainer.model.model.layers[1].mlp.forward = torch.zeros_like
    with pytest.raises(XAlignError, match=r"1\.gate did not fire"):
        made(trainer, pairs)


def test_a_model_made_anew_is_the_one_measured(pairs):
    """With model_init the trainer replaces its model when training starts."""
    from tests.tiny import make_model

    base = make_trainer(evaluate=False, max_steps=2)
    trainer = Trainer(
        model_init=lambda: make_model("llama", seed=9),
        args=base.args,
        train_dataset=base.train_dataset,
        processing_class=base.processing_class,
        data_collator=base.data_collator,
    )
    callback = attach(trainer, pairs)
    trainer.train()
    assert (
        callback.reports[-1].summary() == measure(trainer.model, make_tokenizer(), pairs, ["nasca"]).summary()
    )


def test_after_a_run_that_broke_off_an_evaluation_measures_afresh(pairs):
    class Break(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step == 3:
                raise KeyboardInterrupt

    trainer = make_trainer()
    attach(trainer, pairs, every=1)
    trainer.add_callback(Break())
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.add_(torch.randn_like(parameter))
    expected = measure(trainer.model, trainer.processing_class, pairs, ["nasca"]).score()
    assert trainer.evaluate()["eval_nasca"] == expected


def test_two_callbacks_need_names_of_their_own(pairs):
    trainer = make_trainer(evaluate=False)
    first, second = made(trainer, pairs), made(trainer, pairs)
    trainer.add_callback(first)
    with pytest.raises(ArgumentError, match="name='' already.*give this one a name of its own"):
        made(trainer, pairs)
    trainer.add_callback(second)
    with pytest.raises(ArgumentError, match="name='' already"):
        trainer.train()
    trainer.remove_callback(AlignmentCallback)
    trainer.remove_callback(AlignmentCallback)
    trainer.add_callback(made(make_trainer(folder="other"), pairs))
    with pytest.raises(ArgumentError, match="made for another trainer"):
        trainer.train()


def test_two_callbacks_on_different_pairs(pairs):
    """Both are what they are alone; keys and folders do not collide."""
    news = load_pairs("bundled", ["rus_Cyrl"], n=10)
    trainer = make_trainer()
    first = attach(trainer, pairs, every=2)
    second = attach(trainer, news, metrics=("nasca", "margin"), name="news")
    trainer.train()
    alone = make_trainer(folder="alone")
    single = attach(alone, pairs, every=2)
    alone.train()
    assert equal_to_the_bit(result_of(trainer), result_of(alone))
    assert [r.summary() for r in first.reports] == [r.summary() for r in single.reports]
    assert [row["step"] for row in rows_with(trainer, "eval_news_nasca")] == [0, 3, 6]
    assert [row["step"] for row in rows_with(trainer, "eval_nasca")] == [0, 2, 3, 4, 6]
    last = trainer.state.log_history[-2]
    assert last["eval_news_margin_rus_Cyrl"] == second.reports[-1].score("margin", "rus_Cyrl")
    assert last["eval_nasca_deu_Latn"] == first.reports[-1].score("nasca", "deu_Latn")
    assert "eval_nasca_rus_Cyrl" not in last
    assert History.load("run").languages == pairs.languages
    assert History.load("run/alignment/news").languages == ["rus_Cyrl"]


@pytest.mark.parametrize("order", ["stopping first", "stopping last"])
def test_several_evaluation_sets(order, pairs):
    """The values stand in the first set's row only; selection and stopping count each evaluation once."""
    trainer = make_trainer(**SELECTING, metric_for_best_model="nasca_worst")
    trainer.eval_dataset = {"one": trainer.eval_dataset, "two": trainer.eval_dataset[:4]}
    if order == "stopping first":
        trainer.add_callback(EarlyStoppingCallback(early_stopping_patience=2))
    callback = attach(trainer, pairs)
    if order == "stopping last":
        trainer.add_callback(EarlyStoppingCallback(early_stopping_patience=2))
    script(callback, "nasca_worst", [0.1, 0.2, 0.5, 0.4, 0.3, 0.2])
    trainer.train()
    rows = rows_with(trainer, "eval_nasca_worst")
    assert [row["step"] for row in rows] == [0, 2, 4, 6, 8]
    assert all("eval_one_loss" in row and "eval_two_loss" not in row for row in rows[1:])
    assert [row["step"] for row in rows_with(trainer, "eval_two_loss")] == [2, 4, 6, 8]
    assert trainer.state.global_step == 8
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-4")


def test_the_best_over_the_base(pairs):
    trainer = make_trainer(
        "sft", lora=True, max_steps=4, eval_steps=2, save_strategy="steps", save_steps=2,
        metric_for_best_model="nasca_over_base", load_best_model_at_end=True,
    )  # fmt: skip
    attach(trainer, pairs)
    trainer.train()
    scores = [row["eval_nasca_over_base"] for row in rows_with(trainer, "eval_loss")]
    assert trainer.state.best_metric == max(scores)


def test_keep_best_deletes_what_is_no_longer_the_best(pairs):
    """Also where the new best is a checkpoint that the trainer saves anyway."""
    trainer = make_trainer(evaluate=False, max_steps=4, save_strategy="steps", save_steps=4)
    callback = attach(trainer, pairs, every=1, keep_best="nasca")
    script(callback, "nasca", [0.1, 0.0, 0.0, 0.3, 0.4])
    trainer.train()
    assert [path.name for path in Path("run").glob("checkpoint-*")] == ["checkpoint-4"]


@pytest.mark.parametrize("every_checkpoint", [False, True])
def test_keep_best_without_evaluations(every_checkpoint, pairs):
    changes = {"save_strategy": "steps", "save_steps": 4, "save_total_limit": 2} if every_checkpoint else {}
    trainer = make_trainer(evaluate=False, max_steps=12, **changes)
    callback = attach(trainer, pairs, every=2, keep_best="nasca")
    script(callback, "nasca", [0.1, 0.2, 0.3, 0.25, 0.6, 0.5, 0.4])
    trainer.train()
    best = Path("run/checkpoint-8")
    assert trainer.state.best_model_checkpoint == str(best)
    assert trainer.state.best_metric == 0.6
    kept = sorted(path.name for path in Path("run").glob("checkpoint-*"))
    # What was saved for a lower value alone is gone; the trainer's own checkpoints are the trainer's.
    assert kept == (["checkpoint-12", "checkpoint-8"] if every_checkpoint else ["checkpoint-8"])
    saved = json.loads((best / "trainer_state.json").read_text())
    assert saved["best_global_step"] == 8


def test_keep_best_names_no_checkpoint_that_was_not_saved(pairs):
    """Stopped between two cadences, the run's last measurement is its best, and nothing saves it."""

    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_training_stop = state.global_step == 5

    trainer = make_trainer(evaluate=False, max_steps=12)
    callback = attach(trainer, pairs, every=2, keep_best="nasca")
    trainer.add_callback(Stop())
    script(callback, "nasca", [0.1, 0.2, 0.3, 0.9])
    trainer.train()
    assert [report.step for report in callback.reports] == [0, 2, 4, 5]
    assert trainer.state.best_model_checkpoint == str(Path("run/checkpoint-4"))
    assert Path("run/checkpoint-4").is_dir()


def test_keep_best_spares_what_the_trainer_saved_too(pairs):
    """A checkpoint that the trainer saves again at the end of its epoch is the trainer's."""
    trainer = make_trainer(
        evaluate=False,
        max_steps=-1,
        num_train_epochs=3,
        per_device_train_batch_size=16,
        save_strategy="epoch",
    )
    callback = attach(trainer, pairs, every=2, keep_best="nasca")
    script(callback, "nasca", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    trainer.train()  # epochs end at 4, 8 and 12, and each measurement is the best so far
    assert {path.name for path in Path("run").glob("checkpoint-*")} == {f"checkpoint-{n}" for n in (4, 8, 12)}


def test_keep_best_of_an_earlier_run_stays(pairs):
    """A second run in the same folder deletes what it kept itself, and nothing of the first."""
    for steps, scores in ((2, [0.1, 0.9]), (6, [0.1, 0.2, 0.3, 0.4])):
        trainer = make_trainer(evaluate=False, max_steps=steps)
        callback = attach(trainer, pairs, every=2, keep_best="nasca", save_reports=False)
        script(callback, "nasca", scores)
        if steps == 2:
            trainer.train()
            Path("run/checkpoint-2").rename("run/checkpoint-3")  # where the second has none
        else:
            with pytest.warns(UserWarning, match="held the measurements of an earlier run"):
                trainer.train()
    assert {path.name for path in Path("run").glob("checkpoint-*")} == {"checkpoint-3", "checkpoint-6"}


@pytest.mark.parametrize("gone", [False, True])
def test_keep_best_after_resuming(gone, pairs):
    """The best is known again, in a folder that has moved too; one that is gone is no longer beaten."""
    changes = {"evaluate": False, "save_strategy": "steps", "save_steps": 4}
    first = make_trainer(max_steps=4, **changes)
    script(attach(first, pairs, every=2, keep_best="nasca"), "nasca", [0.1, 0.9, 0.2])
    first.train()
    Path("run").rename("moved")
    if gone:
        shutil.rmtree("moved/checkpoint-2")
    second = make_trainer(max_steps=8, folder="moved", **changes)
    script(attach(second, pairs, every=2, keep_best="nasca"), "nasca", [0.5, 0.3])
    second.train(resume_from_checkpoint="moved/checkpoint-4")
    best = "moved/checkpoint-6" if gone else "moved/checkpoint-2"
    assert second.state.best_model_checkpoint == best and Path(best).is_dir()
    assert second.state.best_metric == (0.5 if gone else 0.9)


def test_a_history_that_cannot_be_continued(pairs):
    """Said when built, and the file stays; a last line that broke off is dropped, and the run resumes."""
    changes = {"evaluate": False, "save_strategy": "steps", "save_steps": 2}
    first = make_trainer(max_steps=4, **changes)
    attach(first, pairs, every=2)
    first.train()
    path = Path("run/alignment/history.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines).replace(b'"schema_version": 1', b'"schema_version": 7'))
    with pytest.raises(ReportError, match="line 1: xalign.History of schema 7; this xalign reads"):
        made(make_trainer(max_steps=6, **changes), pairs, every=2)
    assert path.read_bytes().count(b'"schema_version": 7') == 3
    path.write_bytes(b"".join(lines)[:-9])
    second = make_trainer(max_steps=6, **changes)
    with pytest.warns(UserWarning, match="its last line is broken, as an interruption leaves it"):
        callback = attach(second, pairs, every=2)
    second.train(resume_from_checkpoint="run/checkpoint-2")
    assert callback.history.steps == History.load("run").steps == [0, 2, 4, 6]


def test_one_best_checkpoint_for_a_trainer(pairs):
    trainer = make_trainer(evaluate=False)
    attach(trainer, pairs, every=2, keep_best="nasca")
    with pytest.raises(
        ArgumentError, match="keep_best='two_nasca' beside another callback's keep_best='nasca'"
    ):
        made(trainer, pairs, every=2, keep_best="two_nasca", name="two")
    made(trainer, pairs, every=2, name="two")


def test_keep_best_observes_only(pairs):
    plain = make_trainer(evaluate=False, folder="plain")
    plain.train()
    watched = make_trainer(evaluate=False, folder="watched")
    attach(watched, pairs, every=1, keep_best="nasca_deu_Latn")
    watched.train()
    assert equal_to_the_bit(result_of(plain), result_of(watched))


def test_keep_best_beside_the_trainers_selection_is_refused(pairs):
    with pytest.raises(ArgumentError, match="keep_best='nasca' with metric_for_best_model='loss'"):
        made(make_trainer(metric_for_best_model="loss"), pairs, keep_best="nasca")


def test_a_cadence_that_costs_too_much_is_said_once(pairs, capsys):
    trainer = make_trainer(evaluate=False)
    attach(trainer, pairs, every=1)
    trainer.train()
    said = [line for line in capsys.readouterr().out.splitlines() if "measuring every" in line]
    assert len(said) == 1
    assert re.fullmatch(
        r"xalign: measuring every 1 steps takes \d+% of the time from one measurement to the next; "
        r"every=\d+ would keep it to 2%\. Of the run so far, it took \d+% \(alignment_share\)",
        said[0],
    )


def test_auto_measures_first_and_keeps_out_of_the_way(pairs):
    trainer = make_trainer(evaluate=False, max_steps=90)
    callback = attach(trainer, pairs, every="auto", max_share=0.5)
    trainer.train()
    steps = [report.step for report in callback.reports]
    assert steps[0] == 0 and steps[-1] == 90 and len(steps) > 2
    assert len(set(steps)) == len(steps)


def test_the_scalars_of_a_row(pairs):
    trainer = make_trainer()
    callback = attach(trainer, pairs, metrics=("nasca", "mexa"), log_scalars="all")
    trainer.train()
    row, report = rows_with(trainer, "eval_nasca")[-1], callback.reports[-1]
    expected = report.score("mexa") - report.floor("mexa")
    assert row["eval_mexa_gap"] == pytest.approx(expected)
    by_hand = torch.stack([report.metrics["mexa"].values[code].double().mean(1) for code in pairs]).mean(0)
    assert row["eval_mexa_best_layer"] == by_hand.argmax()
    assert row["eval_alignment_seconds"] == report.cost.seconds
    assert 0 < row["eval_alignment_share"] < 1
    assert {type(value) for value in row.values()} == {float, int}


@pytest.mark.parametrize("kind", ["trainer", "sft"])
def test_a_trainer_takes_it_among_its_callbacks(kind, pairs, capsys):
    """It is bound while the trainer is made, and its values come before trackers and early stopping."""
    recorder, callback = Recorder(), AlignmentCallback(pairs, every=2)
    with pytest.raises(ArgumentError, match="has no trainer yet; pass it to one"):
        _ = callback.reports
    stopping = EarlyStoppingCallback(early_stopping_patience=9)
    changes = {**SELECTING, "max_steps": 4, "metric_for_best_model": "nasca"}
    trainer = make_trainer(kind, callbacks=[recorder, stopping, callback], **changes)
    assert "xalign: one measurement is 2 languages" in capsys.readouterr().out
    trainer.train()
    assert [report.step for report in callback.reports] == [0, 2, 4]
    assert all("eval_nasca" in row for _, row in recorder.evaluated)
    assert [step for step, row in recorder.logged if "eval_nasca" in row] == [0, 2, 4]


def test_added_later_it_takes_the_trainer_that_calls_it(pairs):
    trainer, callback = make_trainer(), AlignmentCallback(pairs)
    trainer.add_callback(callback)
    assert trainer.evaluate()["eval_nasca"] == callback.report.score()
    other = make_trainer(folder="other")
    other.add_callback(callback)
    with pytest.raises(ArgumentError, match="made for another trainer"):
        other.train()


def test_pairs_are_given_once(pairs):
    with pytest.raises(ArgumentTypeError, match="without one, write AlignmentCallback"):
        AlignmentCallback(pairs, 200)
    with pytest.raises(ArgumentTypeError, match="pairs is missing"):
        AlignmentCallback(make_trainer())
