"""`with_alignment`: the gradient that each trainer takes, what it logs, what it refuses."""

import random

import pytest
import torch
from transformers import BitsAndBytesConfig, EvalPrediction, LlamaForCausalLM, Trainer

from tests.monitor.training import equal_to_the_bit, result_of
from tests.quick import one_each
from tests.tiny import make_model, make_tokenizer
from tests.training.runs import (
    BUNDLED,
    first_gradients,
    gradients_by_hand,
    make_trainer,
    minus,
    relative_difference,
    rows_of,
    task_gradients_without,
    training_pairs,
)
from tests.versions.require import require
from xalign import AlignmentCallback, ParallelPairs, load_pairs, measure
from xalign.errors import ArgumentError, ArgumentTypeError, ModelError, PairsError
from xalign.model.inputs import Inputs
from xalign.training.config import AlignmentConfig
from xalign.training.pair_stream import PairStream
from xalign.training.trainer import with_alignment

HELD_OUT = rows_of(BUNDLED, 100, 150)
ACCUMULATED = {"gradient_accumulation_steps": 4}
CHECKPOINTING = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}}
CELLS = [
    ("trainer", {}, {}),
    ("trainer", {}, ACCUMULATED),
    ("trainer", {"lora": True}, ACCUMULATED),
    ("trainer", {}, ACCUMULATED | CHECKPOINTING),
    ("sft", {}, ACCUMULATED),
    ("sft", {"lora": True}, ACCUMULATED | CHECKPOINTING),
    ("sft", {}, {"packing": True}),
    ("sft", {}, {"padding_free": True, "max_length": None} | ACCUMULATED),
    ("dpo", {}, ACCUMULATED),
    ("dpo", {"lora": True}, {}),
    ("grpo", {}, ACCUMULATED),
    ("grpo", {"lora": True}, {}),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("kind", "made", "changes", "loss"), one_each(CELLS, ("contrastive", "neuron_state"))
)
def test_the_gradient_is_the_tasks_plus_the_mean_of_the_micro_batches(kind, made, changes, loss):
    if kind == "sft" and "gradient_checkpointing" in changes:
        require("its SFTTrainer checkpoints in the reentrant way until training begins", trl="1.0")
    layer = 1 if loss == "contrastive" else "all"
    trainer = make_trainer(kind, {"loss": loss, "layer": layer, "weight": 0.5}, **made, **changes)
    pull = gradients_by_hand(trainer, changes.get("gradient_accumulation_steps", 1))
    aligned = first_gradients(trainer)
    plain = first_gradients(make_trainer(kind, **made, **changes))
    assert relative_difference(aligned, plain) > 0.1  # not vacuous
    assert relative_difference(minus(aligned, plain), pull) < 1e-5


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["trainer", "sft", "dpo"])
@pytest.mark.parametrize("lora", [pytest.param(False, marks=pytest.mark.slow), True])
def test_accumulation_of_four_small_batches_equals_one_large(kind, lora, monkeypatch):
    """With the same pairs in both, for a loss of single pairs: 4 × 2 against 1 × 8."""
    rows = PairStream.rows
    large = first_gradients(
        make_trainer(kind, {"loss": "cosine", "batch_size": 8}, lora=lora, per_device_train_batch_size=8)
    )
    stream = PairStream(
        training_pairs(),
        Inputs(make_model("llama"), make_tokenizer()),
        batch_size=8,
        languages_per_batch=1,
        seed=0,
    )

    def quarter(self, step, micro_step=0, rank=0, shares=None):
        return rows(stream, step, 0, rank)[2 * micro_step : 2 * micro_step + 2]

    monkeypatch.setattr(PairStream, "rows", quarter)
    aligned = {"loss": "cosine", "batch_size": 2}
    small = first_gradients(make_trainer(kind, aligned, lora=lora, **ACCUMULATED))
    assert relative_difference(small, large) < 1e-6
    monkeypatch.undo()
    other = first_gradients(make_trainer(kind, aligned | {"weight": 4.0}, lora=lora, **ACCUMULATED))
    assert relative_difference(other, large) > 1e-3  # what a loss that is not divided would give is far


def test_weight_zero_changes_nothing():
    runs = {"attention_dropout": 0.2}
    results = []
    for alignment in (None, {"weight": 0.0}):
        trainer = make_trainer("trainer", alignment, model=make_model("llama", **runs), max_steps=4)
        trainer.train()
        results.append(result_of(trainer))
    assert equal_to_the_bit(*results)


def test_what_is_logged_and_that_evaluation_stays_the_tasks():
    trainer = make_trainer(
        alignment={"batch_size": 16, "weight": 1.0}, max_steps=12, eval_strategy="steps", eval_steps=6
    )
    trainer.train()
    rows = [row for row in trainer.state.log_history if "loss" in row]
    for row in rows:
        assert row["align_loss"] > 0
        assert 0 <= row["align_accuracy"] <= 1
        assert -1 <= row["align_negative"] <= 1
        assert -1 <= row["align_positive"] <= 1
    weight, tolerance = 1.0, 1e-3  # rows are rounded
    for row in rows:
        assert row["loss"] == pytest.approx(row["task_loss"] + weight * row["align_loss"], abs=tolerance)
    with_languages = [
        number for number, row in enumerate(rows) if any("align_accuracy_" in key for key in row)
    ]
    assert with_languages == [0, 10]
    evaluated = [row for row in trainer.state.log_history if "eval_loss" in row]
    assert evaluated
    assert not any(key.startswith("align") for row in evaluated for key in row)
    plain = Trainer(
        model=trainer.model,
        args=trainer.args,
        eval_dataset=trainer.eval_dataset,
        data_collator=trainer.data_collator,
    )
    assert plain.evaluate()["eval_loss"] == evaluated[-1]["eval_loss"]


def test_replay_alone_is_logged():
    texts = list(BUNDLED["deu_Latn"].sentences[150:170])
    trainer = make_trainer(alignment={"weight": 0.0, "replay": texts}, max_steps=2)
    trainer.train()
    rows = [row for row in trainer.state.log_history if "loss" in row]
    assert all(row["replay_loss"] > 0 and "align_loss" not in row for row in rows)


def test_a_trainer_that_does_without_compute_loss_is_told():
    class OwnLoss(Trainer):
        def training_step(self, model, inputs, num_items_in_batch=None):
            loss = model(**self._prepare_inputs(inputs)).loss
            self.accelerator.backward(loss)
            return loss.detach()

    plain = make_trainer()
    trainer = with_alignment(OwnLoss)(
        model=plain.model,
        args=plain.args,
        train_dataset=plain.train_dataset,
        data_collator=plain.data_collator,
        processing_class=make_tokenizer(),
        alignment=AlignmentConfig(pairs=training_pairs(), batch_size=8),
    )
    with pytest.raises(ArgumentError, match="OwnLoss computes its loss without compute_loss"):
        trainer.train()


def test_a_second_run_draws_from_the_beginning():
    trainer = make_trainer(alignment={})
    places = []
    draw = trainer.objective._stream.draw
    trainer.objective._stream.draw = lambda *place: places.append(place[:3]) or draw(*place)
    trainer.train()
    trainer.train()
    assert [place for place in places if len(place) == 3] == [(0, 0, 0), (0, 0, 0)]


@pytest.mark.thorough
def test_training_brings_translations_together():
    trainer = make_trainer(alignment={"batch_size": 16, "temperature": 0.1}, max_steps=30, learning_rate=3e-3)
    trainer.train()
    rows = [row["align_loss"] for row in trainer.state.log_history if "align_loss" in row]
    assert sum(rows[-5:]) < 0.8 * sum(rows[:5])


@pytest.mark.slow
def test_a_language_of_other_tokens_is_aligned_and_the_task_is_learnt():
    """64 sentences, and the same with each word replaced by another one of theirs."""
    english = list(load_pairs("bundled")["deu_Latn"].pivot_sentences)[:64]
    words = sorted({word for text in english for word in text.split()})
    other = dict(zip(words, random.Random(0).sample(words, len(words)), strict=True))
    pairs = ParallelPairs(
        {"eng_Latn": english, "deu_Latn": [" ".join(map(other.get, text.split())) for text in english]}
    )
    ended = {}
    for weight in (0.0, 0.5):
        trainer = make_trainer(
            alignment={"pairs": pairs, "batch_size": 64, "temperature": 0.1, "weight": weight},
            model=make_model("llama", hidden_size=128, intermediate_size=384),
            max_steps=200,
            learning_rate=2e-3,
        )
        trainer.train()
        rows = measure(trainer.model, make_tokenizer(), pairs, ["retrieval"]).to_rows()
        retrieved = [row["value"] for row in rows if row["layer"] in trainer.objective.layers]
        assert len(retrieved) == 2  # from English and to it
        ended[weight] = trainer.evaluate(trainer.train_dataset)["eval_loss"], min(retrieved)
    assert ended[0.5][1] >= 0.95, ended
    assert ended[0.5][0] <= 1.05 * ended[0.0][0], ended
    assert ended[0.0][1] < 0.5, ended  # not without the loss


@pytest.mark.parametrize("every", [2, 4])
def test_alternation_takes_turns(every):
    aligned = {"mode": "alternate", "alternate_every": every, "loss": "cosine"}
    trainer = make_trainer("trainer", aligned, gradient_accumulation_steps=4)
    objective, model = trainer.objective, trainer.model
    turns = [micro_step for micro_step in range(4) if micro_step % every == every - 1]
    model.train()
    for micro_step in turns:
        (objective(0, micro_step) / 4).backward()
    pull = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    found = first_gradients(trainer)
    # What is left is the task's, of the other micro-batches.
    expected = task_gradients_without(turns, gradient_accumulation_steps=4)
    assert relative_difference(minus(found, expected), pull) < 1e-5


@pytest.mark.filterwarnings("ignore:no block is above its lexical floor")
def test_resumed_runs_are_equal_to_unbroken_ones():
    kept = {"max_steps": 6, "save_strategy": "steps", "save_steps": 3}
    aligned = {"batch_size": 8, "layer": "auto", "held_out": HELD_OUT}
    whole = make_trainer(alignment=aligned, **kept)
    whole.train()
    resumed = make_trainer(alignment=aligned, **kept)
    resumed.train(resume_from_checkpoint="run/checkpoint-3")
    assert resumed.objective.layers == whole.objective.layers
    for name, parameter in whole.model.named_parameters():
        assert torch.equal(parameter, dict(resumed.model.named_parameters())[name]), name


@pytest.mark.filterwarnings("ignore:no block is above its lexical floor")
def test_auto_measures_what_the_callback_measures(capsys):
    trainer = make_trainer(alignment={"layer": "auto"}, max_steps=2)
    trainer.add_callback(AlignmentCallback(trainer, HELD_OUT, metrics=["mexa"], save_reports=False))
    trainer.train()
    (block,) = trainer.objective.layers
    assert f"layer='auto' takes block {block}: mexa" in capsys.readouterr().out
    assert {"align_layer": block} in [
        {key: row[key] for key in row if key == "align_layer"} for row in trainer.state.log_history
    ]


def test_auto_without_anything_to_measure_is_an_error():
    with pytest.raises(ArgumentError, match="layer='auto' is settled by measuring: give held_out="):
        make_trainer(alignment={"layer": "auto"}).train()


def test_training_on_what_a_callback_measures_is_refused():
    trainer = make_trainer(alignment={})
    trainer.add_callback(AlignmentCallback(trainer, training_pairs().first(10), save_reports=False))
    with pytest.raises(PairsError, match="training pairs hold sentences that are measured too .*eng_Latn 10"):
        trainer.train()


def test_bf16_autocast_trains_the_same_pairs():
    trainer = make_trainer(alignment={"weight": 1.0}, bf16=True)
    pull = gradients_by_hand(make_trainer(alignment={"weight": 1.0}), 1)
    found = minus(first_gradients(trainer), first_gradients(make_trainer(bf16=True)))
    assert relative_difference(found, pull) < 0.1


def test_a_wrapper_of_a_wrapper_and_of_no_trainer():
    with pytest.raises(ArgumentTypeError, match="AlignedTrainer has an alignment loss already"):
        with_alignment(with_alignment(Trainer))
    for wrong in (EvalPrediction, "Trainer", None):
        with pytest.raises(ArgumentTypeError, match="trainer_class must be a transformers Trainer class"):
            with_alignment(wrong)
    assert with_alignment(Trainer) is with_alignment(Trainer)
    with pytest.raises(ArgumentTypeError, match="alignment is a dict; give alignment=AlignmentConfig"):
        with_alignment(Trainer)(alignment={"layer": 1})
    with pytest.raises(ArgumentError, match="alignment has no pairs"):
        with_alignment(Trainer)(alignment=AlignmentConfig())


@pytest.mark.filterwarnings("ignore")
def test_reentrant_checkpointing_is_refused():
    reentrant = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": True}}
    with pytest.raises(
        ModelError, match="reentrant gradient checkpointing, inside which states have no gradient"
    ):
        make_trainer(alignment={}, **reentrant).train()


@pytest.mark.filterwarnings("ignore")
def test_adapters_over_four_bit_weights(tmp_path):
    require("it cannot multiply four-bit weights on this device", torch="2.7")
    bitsandbytes = pytest.importorskip("bitsandbytes")
    make_model("llama", hidden_size=64, intermediate_size=128, head_dim=16).save_pretrained(tmp_path)
    four_bit = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.float32)

    def made(alignment=None):
        model = LlamaForCausalLM.from_pretrained(tmp_path, quantization_config=four_bit, device_map="cpu")
        assert isinstance(model.model.layers[0].mlp.gate_proj, bitsandbytes.nn.Linear4bit)
        return make_trainer("trainer", alignment, lora=True, model=model, **ACCUMULATED)

    aligned = made({"loss": "neuron_state", "layer": "all"})
    pull = gradients_by_hand(aligned, 4)
    assert pull
    assert all("lora_" in name for name in pull)
    assert relative_difference(minus(first_gradients(aligned), first_gradients(made())), pull) < 1e-5


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore")
def test_compiled_models_are_pulled_uncompiled():
    compiled = {"torch_compile": True, "torch_compile_backend": "aot_eager"}
    trainer = make_trainer(alignment={"layer": 1})
    pull = gradients_by_hand(trainer, 1)
    trainer = make_trainer(alignment={"layer": 1}, **compiled)
    with pytest.warns(UserWarning, match="the forward of the pairs runs uncompiled") as warned:
        found = first_gradients(trainer)
    assert type(trainer.model_wrapped).__name__ == "OptimizedModule"
    assert sum("uncompiled" in str(one.message) for one in warned) == 1
    assert relative_difference(minus(found, first_gradients(make_trainer(**compiled))), pull) < 1e-5
