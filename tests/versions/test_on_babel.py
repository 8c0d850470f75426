"""Measure, watch and align a Babel model: what xalign is for, with whatever releases are installed."""

import pytest
from datasets import Dataset
from transformers import Trainer, TrainingArguments

from xalign import AlignmentCallback, AlignmentConfig, measure, with_alignment
from xalign.babel import load_babel, write_pairs

HELD_OUT = write_pairs(60, 0, "held_out")
TRAINING = write_pairs(400, 0, "train")


def test_a_model_is_measured():
    scores = {}
    for name in ("unaligned", "aligned"):
        model, tokenizer = load_babel(name)
        scores[name] = measure(model, tokenizer, HELD_OUT, ["nasca", "mexa"]).score("nasca", "deu_Latn")
    assert scores["unaligned"] + 0.3 < scores["aligned"]


@pytest.mark.thorough
def test_training_is_watched_and_aligned(tmp_path):
    model, tokenizer = load_babel("unaligned")
    texts = TRAINING["deu_Latn"].pivot_sentences
    trainer = with_alignment(Trainer)(
        model=model,
        args=TrainingArguments(
            str(tmp_path),
            max_steps=40,
            learning_rate=1e-3,
            logging_steps=1,
            report_to=[],
            dataloader_pin_memory=False,
        ),
        train_dataset=Dataset.from_list([{"input_ids": tokenizer(text)["input_ids"]} for text in texts]).map(
            lambda row: {"labels": row["input_ids"]}
        ),
        data_collator=lambda rows: tokenizer.pad(rows[:1], return_tensors="pt"),
        processing_class=tokenizer,
        alignment=AlignmentConfig(pairs=TRAINING, batch_size=16),
    )
    trainer.add_callback(AlignmentCallback(trainer, HELD_OUT, metrics=["nasca"], every=20))
    trainer.train()
    rows = trainer.state.log_history
    losses = [row["align_loss"] for row in rows if "align_loss" in row]
    scores = [row["eval_nasca"] for row in rows if "eval_nasca" in row]
    assert len(losses) == 40 and sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert len(scores) >= 2 and scores[-1] > scores[0] + 0.1
