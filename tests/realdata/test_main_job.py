"""The main job on real input: fine-tune on NTREX with SFTTrainer while the callback measures on FLORES."""

import json
from pathlib import Path

import pytest
import wandb
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from tests.tiny import make_model, make_tokenizer
from tests.wandb_files import offline_run
from xalign import AlignmentCallback, AlignmentReport, load_pairs, measure

LANGUAGES = ["fra_Latn", "deu_Latn", "swh_Latn"]


def test_main_job(real_text, monkeypatch, wandb_here):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_PROJECT", "xalign-test")
    tokenizer = make_tokenizer()
    model = make_model("llama", max_position_embeddings=1024)
    training = load_pairs(real_text / "ntrex", LANGUAGES, n=100)
    measuring = load_pairs(real_text / "flores200", LANGUAGES, n=50)
    assert not training.overlap(measuring)
    text = [sentence for bitext in training.values() for sentence in bitext.sentences[:64]]
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            "run",
            max_steps=12,
            per_device_train_batch_size=4,
            learning_rate=5e-3,
            max_length=64,
            bf16=False,
            use_cpu=True,
            eval_strategy="steps",
            eval_steps=4,
            save_strategy="steps",
            save_steps=4,
            logging_steps=4,
            report_to="wandb",
            run_name="main-job",
            load_best_model_at_end=True,
            metric_for_best_model="nasca",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_dict({"text": text}),
        eval_dataset=Dataset.from_dict({"text": text[:16]}),
        processing_class=tokenizer,
    )
    callback = AlignmentCallback(trainer, measuring, every=6)
    trainer.add_callback(callback)
    trainer.train()
    wandb.finish()

    steps = [0, 4, 6, 8, 12]
    history = {row["step"]: row for row in trainer.state.log_history if "eval_nasca" in row}
    keys = ["eval_nasca", "eval_nasca_worst", *(f"eval_nasca_{language}" for language in LANGUAGES)]
    assert list(history) == steps
    assert all(key in row for row in history.values() for key in keys)
    assert [step for step in steps if "eval_loss" in history[step]] == [4, 8, 12]

    # In the saved reports.
    for step in steps:
        report = AlignmentReport.load(f"run/alignment/step-{step:08d}")
        assert {f"eval_{key}": value for key, value in report.summary().items()}.items() <= history[
            step
        ].items()
        assert report.pairs.fingerprint == measuring.fingerprint
    assert len({row["eval_nasca"] for row in history.values()}) > 1

    # The best checkpoint is the one with the largest score.
    at_checkpoints = {step: history[step]["eval_nasca"] for step in (4, 8, 12)}
    best = max(at_checkpoints, key=at_checkpoints.__getitem__)
    assert trainer.state.best_metric == at_checkpoints[best]
    assert trainer.state.best_model_checkpoint.endswith(f"checkpoint-{best}")
    # And it is the one loaded at the end.
    assert measure(trainer.model, tokenizer, measuring, ["nasca"]).score("nasca") == pytest.approx(
        at_checkpoints[best]
    )

    # In the tracker: the same values at the same steps, and no sentence.
    _, records = offline_run(Path())
    lines = json.dumps(records, ensure_ascii=False)
    rows = [record["history"]["item"] for record in records if record["type"] == "history"]
    tracked = {row["train/global_step"]: row for row in rows if "eval/nasca" in row}
    assert list(tracked) == steps
    for step in steps:
        for key in keys:
            assert tracked[step][key.replace("eval_", "eval/", 1)] == pytest.approx(history[step][key])
    for bitext in measuring.values():
        for sentence in (*bitext.sentences, *bitext.pivot_sentences):
            assert json.dumps(sentence, ensure_ascii=False)[1:-1] not in lines
