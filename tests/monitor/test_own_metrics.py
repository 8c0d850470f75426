"""A user's own metrics along a run: bounded, unbounded, and one of which less is better."""

import copy
import shutil
from pathlib import Path

import pytest
import torch

from tests.monitor.training import make_trainer
from tests.tiny import make_model, make_tokenizer
from xalign import AlignmentCallback, AlignmentMonitor, AlignmentReport, load_pairs
from xalign.errors import ArgumentError
from xalign.metrics.metric import Metric
from xalign.monitor.scalars import scalar_keys, scalars
from xalign.monitor.track import track
from xalign.results.history import History
from xalign.results.report import AlignmentReport as Report


def nearest_is_own(similarity):
    return similarity.argmax(dim=1) == torch.arange(len(similarity))


def lead(similarity):
    """A plain function, with values of any sign and size."""
    return 100 * (similarity.diagonal() - similarity.mean(dim=1))


def state_distance(pivot, other):
    return (pivot.double() - other.double()).norm(dim=1)


OWN = Metric("own", "Own", "hidden", nearest_is_own, chance=lambda n: 1 / n, unit="share of pairs")
DISTANCE = Metric(
    *("distance", "Distance", "hidden", state_distance, "states"),
    bounds=None,
    has_floor=False,
    higher_is_better=False,
)
METRICS = [OWN, lead, DISTANCE]
LANGUAGES = ["deu_Latn", "spa_Latn"]


@pytest.fixture(scope="module")
def pairs():
    return load_pairs("bundled", LANGUAGES, n=12)


def rows_with(trainer, key):
    return [row for row in trainer.state.log_history if key in row]


def distance_by_layer(report, language):
    return report.metrics["distance"].values[language].double().mean(dim=1)


def test_keys_rows_and_history(pairs):
    trainer = make_trainer()
    callback = AlignmentCallback(trainer, pairs, every=2, metrics=["nasca", *METRICS], log_scalars="all")
    trainer.add_callback(callback)
    trainer.train()
    row, report = rows_with(trainer, "eval_own")[-1], callback.reports[-1]
    found = {key.removeprefix("eval_") for key in row if "alignment" not in key}
    parts = ["", "_worst", "_best_layer", *(f"_{code}" for code in LANGUAGES)]
    expected = {f"{name}{part}" for name in ("nasca", "own", "lead", "distance") for part in parts}
    # Only what has a floor has a gap above it.
    assert {key for key in found if key.startswith(("nasca", "own", "lead", "distance"))} == (
        expected | {"nasca_gap", "own_gap"}
    )
    assert row["eval_own_gap"] == pytest.approx(report.score("own") - report.floor("own"))
    assert report.floor("lead") is None and report.chance("lead", "deu_Latn") is None
    distances = {code: distance_by_layer(report, code).mean().item() for code in LANGUAGES}
    assert distances["deu_Latn"] != distances["spa_Latn"]
    assert row["eval_distance_worst"] == pytest.approx(max(distances.values()))
    by_layer = sum(distance_by_layer(report, code) for code in LANGUAGES)
    assert by_layer.argmin() != by_layer.argmax()
    assert row["eval_distance_best_layer"] == by_layer.argmin()
    history = History.load("run")
    assert history.steps == [0, 2, 3, 4, 6]
    assert history.metrics == ["nasca", "own", "lead", "distance"]
    assert history.to_rows() == [row for report in callback.reports for row in report.to_rows()]
    loaded = AlignmentReport.load("run/alignment/step-00000006")
    assert scalars(loaded) == scalars(report)


def test_the_difference_to_the_base_keeps_its_sign(pairs):
    trainer = make_trainer("sft", lora=True, evaluate=False)
    callback = AlignmentCallback(trainer, pairs, metrics=METRICS, log_scalars="all")
    trainer.add_callback(callback)
    trainer.train()
    row, base = rows_with(trainer, "eval_own")[-1], callback._monitor.base
    for metric in ("lead", "distance"):
        difference = callback.reports[-1].score(metric) - base.score(metric)
        assert row[f"eval_{metric}_over_base"] == difference != 0


def test_a_floor_of_zero_is_a_floor(pairs):
    """Its gap is the score itself, and not left out."""
    never = Metric("never", "Never", "hidden", lambda similarity: similarity.diagonal() > 2)
    monitor = AlignmentMonitor(make_model("gpt2"), make_tokenizer(), pairs, [never])
    monitor.step(0)
    assert monitor.reports[0].floor("never") == 0.0
    assert monitor.all_scalars["never_gap"] == 0.0


def test_the_direction_of_every_key():
    keys = scalar_keys(METRICS, ["deu_Latn"], "news", over_base=True)
    assert {key for key, higher_is_better in keys.items() if not higher_is_better} == {
        f"news_distance{part}" for part in ("", "_worst", "_over_base", "_deu_Latn")
    }
    assert "news_own_gap" in keys and "news_distance_gap" not in keys and "news_lead_gap" not in keys


@pytest.mark.parametrize("key", ["distance", "distance_worst", "distance_spa_Latn"])
def test_selection_in_the_wrong_direction_is_refused(key, pairs):
    trainer = make_trainer(metric_for_best_model=key)
    assert trainer.args.greater_is_better is True  # the trainer's own default
    with pytest.raises(ArgumentError, match="greater_is_better=True .* pass greater_is_better=False"):
        AlignmentCallback(trainer, pairs, metrics=METRICS)
    trainer.args.greater_is_better = False
    assert AlignmentCallback(trainer, pairs, metrics=METRICS)
    trainer.args.metric_for_best_model = "lead"
    with pytest.raises(ArgumentError, match="greater_is_better=False .* pass greater_is_better=True"):
        AlignmentCallback(trainer, pairs, metrics=METRICS)


def test_the_trainer_selects_the_smallest(pairs):
    trainer = make_trainer(
        max_steps=6, eval_steps=2, save_strategy="steps", save_steps=2, load_best_model_at_end=True,
        metric_for_best_model="distance", greater_is_better=False,
    )  # fmt: skip
    trainer.add_callback(AlignmentCallback(trainer, pairs, metrics=METRICS))
    trainer.train()
    values = {row["step"]: row["eval_distance"] for row in rows_with(trainer, "eval_loss")}
    assert len(set(values.values())) == 3
    assert trainer.state.best_metric == min(values.values())
    assert trainer.state.best_model_checkpoint.endswith(f"checkpoint-{min(values, key=values.get)}")


@pytest.mark.thorough
@pytest.mark.parametrize(("metric", "best"), [("distance", min), ("lead", max)])
def test_keep_best_keeps_the_best(metric, best, pairs):
    trainer = make_trainer(evaluate=False)
    callback = AlignmentCallback(trainer, pairs, every=1, metrics=METRICS, keep_best=metric)
    trainer.add_callback(callback)
    scripted = iter([0.5, 0.4, 0.2, 0.9, 0.3, 0.6, 0.7])
    run = callback._monitor.measurement.run

    def scored(step):
        report, score = run(step), next(scripted)
        summary = report.summary() | {metric: score}
        object.__setattr__(report, "summary", lambda: summary)
        return report

    callback._monitor.measurement.run = scored
    trainer.train()
    assert trainer.state.best_metric == best([0.4, 0.2, 0.9, 0.3, 0.6, 0.7])
    step = {min: 2, max: 3}[best]
    assert [path.name for path in Path("run").glob("checkpoint-*")] == [f"checkpoint-{step}"]


def changing(monitor, metric, language, values):
    """Puts numbers in the place of what is measured of one language."""
    run = monitor.measurement.run

    def scripted(step):
        report = run(step)
        report.metrics[metric].values[language] = torch.full_like(
            report.metrics[metric].values[language], values[step]
        )
        return report

    monitor.measurement.run = scripted


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("metric", "values", "words"),
    [
        ("distance", [2.0, 2.0, 7.5], "distance of deu_Latn rose from 2.000, its best so far, to 7.500 at"),
        ("distance", [7.5, 7.5, 2.0], None),
        ("lead", [7.5, 7.5, -2.0], "lead of deu_Latn fell from 7.500, its best so far, to -2.000 at step 2"),
        ("lead", [-2.0, -2.0, 7.5], None),
    ],
)
def test_a_regression_is_what_is_worse(metric, values, words):
    told = []
    monitor = AlignmentMonitor(
        make_model("gpt2"),
        make_tokenizer(),
        load_pairs("bundled", ["deu_Latn"], n=60),
        METRICS,
        on_regression=lambda *found: told.append(found),
    )
    changing(monitor, metric, "deu_Latn", values)
    monitor.step(0)
    monitor.step(1)
    monitor.step(2)
    if words is None:
        assert told == [] == monitor.regressions
        return
    ((name, language, regression),) = told
    assert (name, language) == (metric, "deu_Latn")
    assert (regression.best, regression.now) == (values[0], values[2])
    warning = AlignmentMonitor(
        make_model("gpt2"), make_tokenizer(), load_pairs("bundled", ["deu_Latn"], n=60), METRICS
    )
    changing(warning, metric, "deu_Latn", values)
    warning.step(0)
    warning.step(1)
    with pytest.warns(UserWarning, match=words):
        warning.step(2)


def test_a_resumed_run_compares_with_what_it_was(pairs, tmp_path):
    """Also for a metric of which less is better, read back from the reports."""
    text, told = load_pairs("bundled", ["deu_Latn"], n=60), []

    def monitor():
        found = AlignmentMonitor(
            *(make_model("gpt2"), make_tokenizer(), text, [DISTANCE]),
            save_dir=tmp_path / "alignment",
            on_regression=lambda *regression: told.append(regression),
        )
        changing(found, "distance", "deu_Latn", [2.0, 2.0, 2.0, 7.5])
        return found

    first = monitor()
    for step in range(3):
        first.step(step)
    second = monitor()
    second.step(3)
    assert [(name, language) for name, language, _ in told] == [("distance", "deu_Latn")]
    assert told[0][2].best == 2.0 and told[0][2].now == 7.5


def test_track_completes_a_history_of_own_metrics(pairs, tmp_path):
    model = make_model("llama")
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.05)
    history = track(
        lambda: {0: model, 10: other},
        lambda checkpoint: (checkpoint, make_tokenizer()),
        tmp_path / "tracked",
        pairs,
        METRICS,
    )
    assert history.steps == [0, 10] and history.metrics == ["own", "lead", "distance"]
    loaded = Report.load(tmp_path / "tracked" / "step-00000010")
    assert loaded.measured == ["own", "lead", "distance"]
    shutil.rmtree(tmp_path / "tracked" / "step-00000010")
    assert History.load(tmp_path / "tracked").to_rows() == history.to_rows()


@pytest.mark.parametrize("name", ["loss", "runtime", "nasca_worst", "nasca_deu_Latn"])
def test_a_metric_may_not_take_the_key_of_another_value(name, pairs):
    own = Metric(name, "Own", "hidden", lead, bounds=None, has_floor=False)
    with pytest.raises(ArgumentError, match=f"the key '{name}' is taken already"):
        AlignmentCallback(make_trainer(), pairs, metrics=["nasca", own])
    assert AlignmentCallback(make_trainer(), pairs, metrics=[OWN])


@pytest.mark.parametrize("key", ["distanse", "distance_best_layer", "eval_distance_swh_Latn"])
def test_a_mistyped_key_of_an_own_metric_is_found_when_the_callback_is_built(key, pairs):
    trainer = make_trainer(
        save_strategy="steps",
        save_steps=3,
        load_best_model_at_end=True,
        metric_for_best_model=key,
        greater_is_better=False,
    )
    with pytest.raises(
        ArgumentError, match="is no value of an evaluation to select by.*there are: .*distance"
    ):
        AlignmentCallback(trainer, pairs, metrics=[DISTANCE])
