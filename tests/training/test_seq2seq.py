"""`Seq2SeqTrainer`: the callback changes no bit, and `with_alignment` adds the gradient of the encoder."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.nn.modules.module import register_module_forward_pre_hook
from transformers import DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments, set_seed

from tests.monitor.training import equal_to_the_bit, result_of
from tests.pairs_of_stacks import make_pair
from tests.tiny import make_tokenizer
from tests.training.runs import (
    BUNDLED,
    COMMON,
    first_gradients,
    gradients_by_hand,
    gradients_of,
    minus,
    relative_difference,
    rows_of,
    training_pairs,
)
from xalign import AlignmentCallback, map_model
from xalign.errors import ModelError
from xalign.training import pair_forward
from xalign.training.config import AlignmentConfig
from xalign.training.objective import AlignmentObjective
from xalign.training.trainer import with_alignment

GERMAN, ENGLISH = BUNDLED["deu_Latn"].sentences[100:132], BUNDLED["deu_Latn"].pivot_sentences[100:132]
HELD_OUT = rows_of(BUNDLED, 150, 158)


def make_trainer(alignment=None, lora=False, dropout=0.2, **changes):
    """A trainer of a tiny T5 that learns to translate."""
    set_seed(0)
    tokenizer, model = make_tokenizer(), make_pair("t5", dropout_rate=dropout)
    if lora:
        adapter = LoraConfig(r=4, lora_dropout=dropout, target_modules=["q", "wo"], task_type="SEQ_2_SEQ_LM")
        model = get_peft_model(model, adapter)
    data = [
        {"input_ids": tokenizer(source)["input_ids"], "labels": tokenizer(target)["input_ids"]}
        for source, target in zip(GERMAN, ENGLISH, strict=True)
    ]
    made, extra = Seq2SeqTrainer, {}
    if alignment is not None:
        made = with_alignment(Seq2SeqTrainer)
        options = {"pairs": training_pairs(), "loss": "contrastive", "batch_size": 8, "layer": 1} | alignment
        extra["alignment"] = AlignmentConfig(**options)
    return made(
        model=model,
        args=Seq2SeqTrainingArguments("run", **COMMON | changes),
        train_dataset=data,
        eval_dataset=data[:4],
        processing_class=tokenizer,
        data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
        **extra,
    )


def calls_of_decoder(model, run):
    """How often the decoder is called while a function runs, and what the function returns."""
    decoder, calls = model.get_decoder(), []
    hook = lambda module, _: calls.append(1) if module is decoder else None  # noqa: E731
    handle = register_module_forward_pre_hook(hook)
    try:
        return run(), len(calls)
    finally:
        handle.remove()


@pytest.mark.thorough
@pytest.mark.parametrize("lora", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_watched_run_is_the_same_to_the_bit(lora):
    """With dropout, accumulation, and an evaluation that generates."""
    results, scores = [], []
    for watched in (False, True):
        trainer = make_trainer(
            **{"lora": lora, "max_steps": 4, "gradient_accumulation_steps": 2, "eval_strategy": "steps"},
            **{"eval_steps": 2, "predict_with_generate": True, "generation_max_length": 6},
        )
        if watched:
            trainer.add_callback(AlignmentCallback(trainer, HELD_OUT, every=1, metrics=["margin", "nasca"]))
        before = {name: value.detach().clone() for name, value in trainer.model.named_parameters()}
        trainer.train()
        results.append(result_of(trainer))
        assert any(not torch.equal(value, before[name]) for name, value in results[-1].weights.items())
        scores = [row["eval_margin"] for row in trainer.state.log_history if "eval_margin" in row]
    ids = torch.tensor([[4, 5, 6, 7]])
    with torch.no_grad():  # dropout is active
        first, second = (trainer.model.train()(input_ids=ids, labels=ids).loss for _ in range(2))
    assert not torch.equal(first, second)
    assert equal_to_the_bit(*results)
    assert len(scores) == 5
    assert len(set(scores)) > 1


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("made", "changes", "loss"),
    [
        ({}, {"gradient_accumulation_steps": 2}, "contrastive"),
        pytest.param({}, {"gradient_checkpointing": True}, "neuron_state", marks=pytest.mark.slow),
        pytest.param(
            {"lora": True}, {"gradient_accumulation_steps": 2}, "neuron_state", marks=pytest.mark.slow
        ),
    ],
)
def test_the_gradient_is_the_tasks_plus_that_of_the_encoder(made, changes, loss):
    alignment = {"loss": loss, "layer": 1 if loss == "contrastive" else "all", "weight": 0.5}
    made = {"dropout": 0.0, **made}
    trainer = make_trainer(alignment, **made, **changes)
    pull = gradients_by_hand(trainer, changes.get("gradient_accumulation_steps", 1))
    assert pull
    assert not any("decoder" in name and bool(grad.any()) for name, grad in pull.items())
    aligned, plain = first_gradients(trainer), first_gradients(make_trainer(**made, **changes))
    assert relative_difference(aligned, plain) > 0.1  # not vacuous
    assert relative_difference(minus(aligned, plain), pull) < 1e-5
    row = next(row for row in trainer.state.log_history if "align_loss" in row)
    assert row["align_loss"] > 0


@pytest.mark.filterwarnings("ignore:the forward of the pairs runs whole:UserWarning")
@pytest.mark.parametrize("family", ["t5", "bart"])
def test_the_loss_runs_the_encoder_only(family, monkeypatch):
    model = make_pair(family)
    objective = AlignmentObjective(
        model, make_tokenizer(), training_pairs(), loss="contrastive", batch_size=8, layer="all"
    )
    objective._forward.per_batch = 10**6  # one forward, as where it runs whole
    found = []
    for whole in (False, True):
        if whole:
            monkeypatch.setattr(pair_forward, "is_sharded", lambda model: True)
        model.zero_grad()
        loss, calls = calls_of_decoder(model, lambda: objective(0))
        assert calls == int(whole)
        loss.backward()
        found.append((loss.item(), gradients_of(model)))
    assert found[0][0] == found[1][0]
    assert relative_difference(found[0][1], found[1][1]) < 1e-6
    alone = model.get_encoder()
    model.zero_grad()
    of_encoder = AlignmentObjective(
        alone, make_tokenizer(), training_pairs(), loss="contrastive", batch_size=8, layer="all"
    )
    of_encoder._forward.per_batch = 10**6
    loss = of_encoder(0)
    loss.backward()
    assert loss.item() == found[0][0]
    assert map_model(model).n_layers == len(objective.layers) == 2
    prefix = "encoder." if family == "t5" else "model.encoder."
    expected = {f"{prefix}{name}": grad for name, grad in gradients_of(alone).items()}
    assert all(torch.equal(found[0][1][name], grad) for name, grad in expected.items() if name in found[0][1])


def test_replay_on_an_encoder_decoder_is_refused():
    """Its loss is of labels; it would learn to copy the documents."""
    with pytest.raises(ModelError, match="replay needs a causal language model, and T5ForConditionalGener"):
        AlignmentObjective(make_pair("t5"), make_tokenizer(), training_pairs(), replay=["a b"] * 8)
