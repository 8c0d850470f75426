"""A SentenceTransformer and its trainer are measured and aligned through their transformers model."""

import json
import subprocess
import sys

import pytest
import torch
from datasets import Dataset
from transformers import AutoModel, AutoTokenizer

from tests.minilm import minilm_folder
from tests.quick import one_in
from tests.tiny import ROOT
from tests.training.runs import first_gradients, gradients_of, minus, relative_difference
from xalign import (
    AlignmentCallback,
    AlignmentConfig,
    AlignmentObjective,
    Site,
    find_units,
    load_pairs,
    map_model,
    measure,
    steer,
    with_alignment,
)
from xalign.errors import ModelError
from xalign.model.write import Edit, write

PAIRS = load_pairs("bundled", ["deu_Latn"]).first(24)
TRAINING = load_pairs("bundled", ["deu_Latn"]).split(0.5, seed=0)[0]
OPTIONS = {"loss": "contrastive", "layer": 2, "batch_size": 8, "temperature": 0.1}


@pytest.fixture
def model():
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(minilm_folder()), device="cpu")


@pytest.fixture(scope="module")
def plain():
    return AutoModel.from_pretrained(minilm_folder()).eval(), AutoTokenizer.from_pretrained(minilm_folder())


def make_trainer(model, *, alignment=None, folder="run", **changes):
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    # Sentences that PAIRS and TRAINING do not hold.
    texts = [f"Sentence number {number} of a task." for number in range(16)]
    arguments = {
        "per_device_train_batch_size": 4,
        "max_steps": 2,
        "logging_steps": 1,
        "report_to": "none",
        "use_cpu": True,
        "save_strategy": "no",
        "max_grad_norm": 0.0,
        "seed": 1,
    } | changes
    made = SentenceTransformerTrainer if alignment is None else with_alignment(SentenceTransformerTrainer)
    return made(
        model=model,
        args=SentenceTransformerTrainingArguments(folder, **arguments),
        train_dataset=Dataset.from_dict({"anchor": texts, "positive": [text.upper() for text in texts]}),
        loss=MultipleNegativesRankingLoss(model),
        **({} if alignment is None else {"alignment": alignment}),
    )


@pytest.mark.thorough
def test_its_report_is_that_of_the_transformers_model(model, plain):
    """It was refused at the first forward: SentenceTransformer takes no input_ids."""
    report = measure(model, model.tokenizer, PAIRS)
    expected = measure(*plain, PAIRS)
    assert [row["value"] for row in report.to_rows()] == [row["value"] for row in expected.to_rows()]
    for row, result in expected.metrics.items():
        assert torch.equal(report.metrics[row].values["deu_Latn"], result.values["deu_Latn"])
    assert str(map_model(model)) == str(map_model(plain[0]))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_units_are_found_in_it_and_steer_what_it_encodes(model, plain):
    """Sites were found in it, and nothing that runs the model worked."""
    units = find_units(model, model.tokenizer, PAIRS.texts, share=0.01)
    expected = find_units(*plain, PAIRS.texts, share=0.01)
    assert units["deu_Latn"] == expected["deu_Latn"]
    before = model.encode(["Guten Tag."])
    with steer(model, units["deu_Latn"], operator="zero", positions="all"):
        assert abs(model.encode(["Guten Tag."]) - before).max() > 1e-4
    edits = {Site("hidden", "final"): Edit("zero")}
    with write(model, edits, positions="all"):
        assert not model.encode(["Guten Tag."]).any()
    assert (model.encode(["Guten Tag."]) == before).all()


@pytest.mark.thorough
def test_its_trainer_is_monitored_and_trains_as_without(model):
    """The callback was refused at its first measurement."""
    from sentence_transformers import SentenceTransformer

    weights, losses = [], []
    for with_callback in (False, True):
        trainer = make_trainer(SentenceTransformer(str(minilm_folder()), device="cpu"))
        if with_callback:
            callback = AlignmentCallback(trainer, PAIRS, every=1, metrics=("nasca", "mexa"))
            trainer.add_callback(callback)
        trainer.train()
        weights.append(list(trainer.model.parameters()))
        losses.append([row["loss"] for row in trainer.state.log_history if "loss" in row])
    assert [report.step for report in callback.reports] == [0, 1, 2]
    assert callback.reports[0].score("mexa") == measure(model, model.tokenizer, PAIRS, ["mexa"]).score("mexa")
    assert callback.reports[2].score("nasca") != callback.reports[0].score("nasca")  # it has learnt
    assert losses[0] == losses[1]
    assert len(losses[0]) == 2
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))


@pytest.mark.thorough
def test_an_objective_has_the_gradient_of_the_transformers_model(model, plain):
    """Alignment was refused: its forward took no input_ids."""
    ours = AlignmentObjective(model, model.tokenizer, TRAINING, **OPTIONS)
    theirs = AlignmentObjective(*plain, TRAINING, **OPTIONS)
    losses = []
    for objective in (ours, theirs):
        loss = objective(0)
        loss.backward()
        losses.append(loss.item())
    assert losses[0] == losses[1]
    expected = gradients_of(plain[0])
    found = gradients_of(model[0].auto_model)
    plain[0].zero_grad()
    assert found.keys() == expected.keys()
    assert sum(gradient.abs().sum() for gradient in expected.values()) > 0
    assert relative_difference(found, expected) == 0


@pytest.mark.thorough
@pytest.mark.parametrize("accumulated", one_in(2, [2, 1]))
def test_its_trainer_adds_the_alignment_loss(accumulated):
    """`with_alignment(SentenceTransformerTrainer)` could be made, and ended at its first step."""
    from sentence_transformers import SentenceTransformer

    def made(alignment):
        model = SentenceTransformer(str(minilm_folder()), device="cpu")
        for module in model.modules():  # pairs draw random numbers too, so dropout would differ
            module.p = 0.0 if isinstance(module, torch.nn.Dropout) else getattr(module, "p", None)
        changes = {
            "gradient_accumulation_steps": accumulated,
            "max_steps": 1,
            "per_device_train_batch_size": 2,
        }
        return make_trainer(model, alignment=alignment, **changes)

    aligned = made(AlignmentConfig(pairs=TRAINING, weight=0.5, **OPTIONS))
    objective = aligned.objective
    objective.model.train()
    for micro_step in range(accumulated):
        (objective(0, micro_step) / accumulated).backward()
    pull = gradients_of(aligned.model)
    aligned.model.zero_grad()
    found, without = first_gradients(aligned), first_gradients(made(None))
    assert relative_difference(found, without) > 1e-3  # not vacuous
    assert relative_difference(minus(found, without), pull) < 1e-4
    (row,) = [row for row in aligned.state.log_history if "align_loss" in row]
    assert row["align_loss"] > 0


def test_one_without_a_single_transformers_model_is_refused():
    """There is no one model to measure: the error says what to pass."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    tokenizer = AutoTokenizer.from_pretrained(minilm_folder())
    static = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=8)], device="cpu")
    with pytest.raises(ModelError, match="holds 0 transformers models.*pass the transformers model itself"):
        measure(static, tokenizer, PAIRS)


@pytest.mark.thorough
def test_the_package_is_not_imported_to_ask():
    """It is optional, and slow to import."""
    code = (
        "import sys, json, torch, xalign\n"
        "from tests.tiny import make_model, make_tokenizer\n"
        "xalign.measure(make_model('llama'), make_tokenizer(), metrics=['mexa'])\n"
        "print(json.dumps('sentence_transformers' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert json.loads(done.stdout.splitlines()[-1]) is False
