"""The `TranslationEvaluator` of sentence-transformers beside the metric `retrieval`: the same accuracies."""

import pytest
import torch

from tests.minilm import minilm_folder
from xalign import AlignmentObjective, load_pairs, measure

PAIRS = load_pairs("bundled", ["deu_Latn", "spa_Latn"], n=16)


@pytest.fixture(scope="module")
def model():
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(minilm_folder()), device="cpu")


@pytest.mark.thorough
def test_both_accuracies_are_those_of_the_evaluator(model):
    from sentence_transformers.sentence_transformer.evaluation import TranslationEvaluator

    report = measure(model, model.tokenizer, PAIRS, ["retrieval"], pool="mean")
    for code, bitext in PAIRS.items():
        evaluator = TranslationEvaluator(
            list(bitext.pivot_sentences), list(bitext.sentences), write_csv=False
        )
        theirs = evaluator(model)
        ours = [
            report.per_sentence(part, code, "final").double().mean().item()
            for part in ("retrieval_from_pivot", "retrieval_to_pivot")
        ]
        assert ours == [theirs["src2trg_accuracy"], theirs["trg2src_accuracy"]]
        assert sum(ours) / 2 == pytest.approx(theirs["mean_accuracy"], abs=1e-12)
        assert 0.1 < theirs["mean_accuracy"] < 1  # an easy or a hopeless task would show nothing


def test_the_loss_of_a_student_is_the_mean_squared_error_to_the_english_embedding(model):
    """`MSELoss` where the teacher is the model itself, before the embedding is normalised."""
    objective = AlignmentObjective(
        model, model.tokenizer, PAIRS, loss="mse", layer=1.0, pool="mean", batch_size=8
    )
    drawn = objective.pairs_of(0)
    sides = [
        [getattr(objective.pairs[code], side)[row] for code, row in drawn]
        for side in ("sentences", "pivot_sentences")
    ]
    with torch.no_grad():
        language, english = (
            model.encode(side, output_value="token_embeddings", convert_to_tensor=False) for side in sides
        )
    ours = objective(0).item()
    differences = [
        (one.mean(dim=0) - other.mean(dim=0)).square().mean()
        for one, other in zip(language, english, strict=True)
    ]
    assert ours == pytest.approx(torch.stack(differences).mean().item(), rel=1e-4)
