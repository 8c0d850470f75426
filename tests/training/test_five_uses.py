"""A multimodal model and an encoder–decoder through everything: monitor, align, find, steer, save, load."""

import pytest
import torch
from transformers import DataCollatorForLanguageModeling, Trainer, TrainingArguments, set_seed

from tests.monitor.training import equal_to_the_bit, result_of
from tests.multimodal import make_gemma3, make_mllama
from tests.pairs_of_stacks import make_pair
from tests.tiny import make_tokenizer
from tests.training.runs import (
    BUNDLED,
    COMMON,
    first_gradients,
    gradients_by_hand,
    minus,
    relative_difference,
    rows_of,
    training_pairs,
)
from tests.versions.require import require
from xalign import AlignmentCallback, AlignmentMonitor, AlignmentReport, find_units, measure, steer
from xalign.training.config import AlignmentConfig
from xalign.training.objective import AlignmentObjective
from xalign.training.trainer import with_alignment
from xalign.units.unit_set import UnitSet

HELD_OUT = rows_of(BUNDLED, 150, 158)
GERMAN = BUNDLED["deu_Latn"].sentences[100:124]
TEXTS = {code: list(HELD_OUT[code].sentences) for code in ("deu_Latn", "spa_Latn")}
PREFIX = {"gemma3": "model.language_model.layers", "t5": "encoder.block"}


@pytest.mark.thorough
@pytest.mark.parametrize("family", ["gemma3", "t5"])
def test_everything_works_on_the_model_as_it_comes(family, tmp_path):
    model, tokenizer = make_gemma3() if family == "gemma3" else make_pair("t5"), make_tokenizer()
    monitor = AlignmentMonitor(model, tokenizer, HELD_OUT, metrics=["nasca", "margin"])
    monitor.step(0)
    # Align: the loss falls, and no parameter outside of what is read has a gradient.
    objective = AlignmentObjective(
        model, tokenizer, training_pairs(), loss="contrastive", batch_size=16, layer=1
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    losses = []
    for _ in range(4):
        loss = objective(0)
        loss.backward()
        losses.append(loss.item())
        moved = {name for name, one in model.named_parameters() if one.grad is not None and one.grad.any()}
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < losses[0]
    assert any(name.startswith(PREFIX[family]) for name in moved)
    assert not any("decoder" in name or "vision" in name for name in moved)
    monitor.step(1)
    first, second = (report.score("margin") for report in monitor.reports)
    assert first != second
    # Find, save, load, steer.
    found = find_units(model, tokenizer, TEXTS, method="expert_ap", k=8)
    found.save_pretrained(tmp_path / "units")
    units = UnitSet.from_pretrained(tmp_path / "units")["deu_Latn"]
    assert list(units) == list(found["deu_Latn"])
    before = measure(model, tokenizer, HELD_OUT, ["margin", "nasca"])
    with steer(model, units, strength=5.0) as done:
        within = measure(model, tokenizer, HELD_OUT, ["margin", "nasca"])
        ids = torch.tensor([tokenizer(GERMAN[0])["input_ids"]])
        generated = model.generate(input_ids=ids, max_new_tokens=3, min_new_tokens=3, do_sample=False)
    assert generated.shape[1] > 3
    assert done.tokens
    values = [report.metrics["margin"].values["deu_Latn"] for report in (before, within)]
    assert not torch.equal(*values)
    again = measure(model, tokenizer, HELD_OUT, ["margin", "nasca"])
    before.save(tmp_path / "report")
    loaded = AlignmentReport.load(tmp_path / "report")
    assert not any(row["difference"] for row in again.compare(loaded))
    model.save_pretrained(tmp_path / "model")
    kept = type(model).from_pretrained(tmp_path / "model").eval()
    assert not any(
        row["difference"] for row in measure(kept, tokenizer, HELD_OUT, ["margin", "nasca"]).compare(loaded)
    )


def make_trainer(alignment=None):
    """A trainer of a tiny Gemma 3 on text alone."""
    set_seed(0)
    tokenizer, model = make_tokenizer(), make_gemma3(attention_dropout=0.2 if alignment is None else 0.0)
    made, extra = Trainer, {}
    if alignment:
        made = with_alignment(Trainer)
        extra["alignment"] = AlignmentConfig(
            pairs=training_pairs(), loss="contrastive", batch_size=8, layer=1, weight=0.5
        )
    set_seed(0)
    return made(
        model=model,
        args=TrainingArguments("run", **COMMON | {"max_steps": 2}),
        train_dataset=[{"input_ids": tokenizer(text)["input_ids"]} for text in GERMAN],
        processing_class=tokenizer,
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
        **extra,
    )


@pytest.mark.thorough
def test_a_multimodal_model_is_watched_in_a_trainer_to_the_bit():
    results = []
    for watched in (False, True):
        trainer = make_trainer()
        if watched:
            trainer.add_callback(AlignmentCallback(trainer, HELD_OUT, every=1, metrics=["margin"]))
        trainer.train()
        results.append(result_of(trainer))
    assert equal_to_the_bit(*results)
    scores = [row["eval_margin"] for row in trainer.state.log_history if "eval_margin" in row]
    assert len(set(scores)) == 3


@pytest.mark.thorough
def test_a_multimodal_trainer_takes_the_gradient_of_the_pairs():
    trainer = make_trainer(alignment=True)
    pull = gradients_by_hand(trainer, 1)
    aligned, plain = first_gradients(trainer), first_gradients(make_trainer(alignment=False))
    assert relative_difference(aligned, plain) > 0.1
    assert relative_difference(minus(aligned, plain), pull) < 1e-5


def test_blocks_that_text_alone_does_not_run_are_named():
    require("its Mllama does not run on text alone", transformers="5.0")
    with pytest.warns(UserWarning, match=r"model.language_model.layers.1 stand among the blocks and are not"):
        report = measure(make_mllama(), make_tokenizer(), HELD_OUT, ["nasca"])
    assert report.provenance["blocks_not_run"] == ["model.language_model.layers.1"]
    assert len(report.sites("nasca")) == 2
