"""Trackers know the experiment: few scalars, and the settings of loss and measurement as their config."""

import math
from dataclasses import replace

import pytest
from transformers import EarlyStoppingCallback, Trainer

from tests.monitor.training import make_trainer
from tests.trackers.test_own_tracker import Notebook, tracker_of
from xalign import AlignmentCallback, AlignmentConfig, AlignmentMonitor, load_pairs, with_alignment
from xalign.errors import ArgumentError
from xalign.losses.loss import Loss
from xalign.plain_config import plain_config
from xalign.training.arguments import AlignmentArguments

LANGUAGES = ["deu_Latn", "spa_Latn"]
FEW = {"eval_nasca", "eval_nasca_worst", *(f"eval_nasca_{code}" for code in LANGUAGES)}
MORE = {"eval_nasca_gap", "eval_nasca_best_layer", "eval_alignment_seconds", "eval_alignment_share"}


@pytest.fixture(scope="module")
def pairs():
    return load_pairs("bundled", LANGUAGES, n=10)


def keys_logged(trainer):
    rows = [row for row in trainer.state.log_history if "eval_nasca" in row]
    assert rows
    own = [{key for key in row if "nasca" in key or "alignment" in key} for row in rows]
    assert all(one == own[0] for one in own)
    return own[0]


def run(pairs, every=2, max_steps=3, **options):
    saved = {name: options.pop(name) for name in ("metric_for_best_model", "callbacks") if name in options}
    if saved:
        saved |= {"save_strategy": "steps", "save_steps": 3, "load_best_model_at_end": True}
    trainer = make_trainer(max_steps=max_steps, **saved)
    callback = AlignmentCallback(trainer, pairs, every=every, save_reports=False, **options)
    trainer.add_callback(callback)
    trainer.train()
    return trainer, callback


@pytest.mark.thorough
def test_few_by_default_and_all_on_request(pairs):
    assert keys_logged(run(pairs)[0]) == FEW
    assert keys_logged(run(pairs, log_scalars="all")[0]) == FEW | MORE


def test_a_callback_with_a_name(pairs):
    trainer, _ = run(pairs, name="news")
    row = next(row for row in trainer.state.log_history if "eval_news_nasca" in row)
    assert {key for key in row if "news" in key} == {key.replace("nasca", "news_nasca") for key in FEW}


def test_what_selects_is_always_there(pairs):
    """Also for early stopping, which looks at each evaluation."""
    stopping = EarlyStoppingCallback(early_stopping_patience=5)
    trainer, _ = run(pairs, metric_for_best_model="nasca_gap", callbacks=[stopping])
    assert keys_logged(trainer) == FEW | {"eval_nasca_gap"}
    rows = [row for row in trainer.state.log_history if "eval_loss" in row]
    assert trainer.state.best_metric == max(row["eval_nasca_gap"] for row in rows)


def test_what_keeps_the_best_is_always_there(pairs):
    trainer = make_trainer(max_steps=2, evaluate=False)
    trainer.add_callback(AlignmentCallback(trainer, pairs, every=1, keep_best="nasca_gap"))
    trainer.train()
    assert keys_logged(trainer) == FEW | {"eval_nasca_gap"}


def test_evaluate_returns_every_number(pairs):
    trainer, _ = run(pairs)
    assert (FEW | MORE) - {"eval_alignment_seconds", "eval_alignment_share"} <= trainer.evaluate().keys()


def test_a_monitor_too(pairs):
    trainer = make_trainer(evaluate=False)
    model, tokenizer = trainer.model, trainer.processing_class
    monitor = AlignmentMonitor(model, tokenizer, pairs)
    assert monitor.scalars == {}
    monitor.step(0)
    assert {f"eval_{key}" for key in monitor.scalars} == FEW
    assert {f"eval_{key}" for key in monitor.all_scalars} == FEW | MORE
    both = AlignmentMonitor(
        model, tokenizer, pairs, log_scalars="all", every=5, at_steps=[7], template="{text}!"
    )
    both.step(0)
    assert {f"eval_{key}" for key in both.scalars} == FEW | MORE
    wanted = {
        "measure_every": 5,
        "measure_at_steps": "7",
        "measure_template": "{text}!",
        "measure_pairs": 10,
    }
    assert wanted.items() <= both.settings.items()
    assert both.settings["measure_fingerprint"] == pairs.fingerprint[:16]
    assert all(isinstance(value, str | int | float) for value in both.settings.values())


@pytest.mark.parametrize("given", ["many", None, True])
def test_a_wrong_choice_of_scalars(given, pairs):
    with pytest.raises(ArgumentError, match="log_scalars=.* must be 'few'"):
        AlignmentCallback(pairs, log_scalars=given)


# The config.


class Kept(Notebook):
    """What a tracker's config was given."""

    def __init__(self):
        super().__init__()
        self.configs = []

    def tracker(self):
        return replace(tracker_of(self), log_config=lambda run, config: run.configs.append(dict(config)))


@pytest.mark.thorough
def test_a_tracker_gets_the_settings_once_before_the_first_row(pairs):
    kept, trainer = Kept(), make_trainer(max_steps=3, eval_on_start=True)
    rows_before = []
    tracker = kept.tracker()
    log_config = tracker.log_config
    tracker = replace(
        tracker,
        log_config=lambda run, config: (
            rows_before.append([row for row in trainer.state.log_history if "eval_nasca" in row]),
            log_config(run, config),
        ),
    )
    trainer.add_callback(AlignmentCallback(trainer, pairs, every=2, trackers=[tracker]))
    other = AlignmentCallback(trainer, pairs, metrics=["mexa"], name="other")
    trainer.add_callback(other)
    trainer.train()
    assert rows_before == [[]]
    (config,) = kept.configs
    assert config["measure_every"] == 2 and config["measure_metrics"] == "nasca"
    assert config["other_measure_metrics"] == "mexa"
    assert not any(key.startswith("align_") for key in config)
    trainer.train()  # a new run
    assert len(kept.configs) == 2


def aligned(pairs, **options):
    plain = make_trainer(evaluate=False, max_steps=2)
    config = AlignmentConfig(pairs=pairs, batch_size=4, **options)
    return with_alignment(Trainer)(
        model=plain.model,
        args=plain.args,
        train_dataset=plain.train_dataset,
        processing_class=plain.processing_class,
        data_collator=plain.data_collator,
        alignment=config,
    )


def test_the_settings_of_the_loss(pairs):
    kept, trainer = Kept(), aligned(pairs.sample(8, seed=1), weight=0.25, layer=[0, 1])
    held_out = type(pairs)(
        {code: texts[100:110] for code, texts in load_pairs("bundled", ["deu_Latn"]).texts.items()}
    )
    trainer.add_callback(AlignmentCallback(trainer, held_out, trackers=[kept.tracker()]))
    trainer.train()
    (config,) = kept.configs
    assert config["align_weight"] == 0.25 and config["align_layer"] == "0,1"
    assert config["align_loss"] == "neuron_state" and config["measure_metrics"] == "nasca"


def test_without_a_callback_the_trainer_tells_it(pairs, monkeypatch):
    kept, trainer = Kept(), aligned(pairs, weight=0.5)
    monkeypatch.setattr("xalign.monitor.report_log.TRACKERS", {"notebook": kept.tracker()})
    trainer.train()
    (config,) = kept.configs
    assert config["align_weight"] == 0.5 and not any(key.startswith("measure_") for key in config)


def test_no_sentence_is_in_the_settings(pairs):
    texts = ["A sentence that must not leave.", "Another such sentence."]
    config = AlignmentConfig(
        pairs=pairs,
        replay=texts,
        control="loop",
        control_pairs=pairs,
        guard={"eng_Latn": texts},
        held_out=pairs,
        eval_pairs="some/folder",
    )
    settings = config.settings
    told = " ".join(map(str, settings.values()))
    for bitext in pairs.values():
        assert not any(text in told for text in (*bitext.sentences, *bitext.pivot_sentences, *texts))
    assert settings["align_pairs"] == pairs.fingerprint[:16]
    assert settings["align_replay"] == "2 given" and settings["align_eval_pairs"] == "some/folder"


def test_the_keys_are_those_of_the_command_line():
    config = AlignmentConfig(pairs="bundled", layer="4:.5,8:.5", replay="a.txt", kl=0.1)
    names = set(AlignmentArguments.__dataclass_fields__)
    assert config.settings.keys() <= names
    # What a list or a mapping is shown as is what a command line takes.
    assert AlignmentConfig(pairs="bundled", layer={4: 0.5, 8: 0.5}).settings["align_layer"] == "4:0.5,8:0.5"


def test_settings_in_plain_values():
    def distance(language, pivot):
        return (language - pivot).square().mean()

    given = {"loss": Loss("mine", distance), "fn": distance, "none": None, "on": True, "many": ("a", 2)}
    assert plain_config(given | {"object": math.inf, "other": object()}, "x") == {
        "x_loss": "mine",
        "x_fn": "distance",
        "x_on": True,
        "x_many": "a,2",
        "x_object": math.inf,
        "x_other": "object",
    }
