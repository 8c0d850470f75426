"""The alignment loss of held-out pairs: against batches put together by hand, in a trainer, for stopping."""

import pytest
import torch
from transformers import EarlyStoppingCallback

from tests.tiny import make_model
from tests.training.runs import BUNDLED, make_trainer, rows_of, training_pairs
from tests.training.test_objective import make_objective
from xalign import ParallelPairs
from xalign.errors import ArgumentError, PairsError
from xalign.losses.contrastive import contrastive

FEW = training_pairs().only(["deu_Latn", "spa_Latn"]).first(24)
HELD_OUT = rows_of(BUNDLED.only(["deu_Latn", "spa_Latn", "rus_Cyrl"]), 100, 113)


@pytest.fixture(scope="module")
def objective():
    return make_objective(pairs=FEW, eval_pairs=HELD_OUT, languages_per_batch=2, centre=False, weight=0.5)


def test_it_is_the_mean_over_batches_in_which_each_pair_stands_once(objective):
    batches = objective._eval_loss._rows
    rows = [row for batch in batches for row in batch]
    assert sorted(rows) == [(code, row) for code in sorted(HELD_OUT) for row in range(13)]
    assert all(2 <= len(batch) <= 8 for batch in batches)
    model, total = objective.model, 0.0
    for batch in batches:
        drawn = objective._eval_loss._stream.batch(batch)
        lines = [*drawn.language_lines, *drawn.pivot_lines]
        states = []
        for ids, _ in lines:
            inputs = {"input_ids": torch.tensor([ids]), "output_hidden_states": True}
            states.append(model(**inputs).hidden_states[2][0].mean(dim=0))
        sides = torch.stack(states[: len(batch)]), torch.stack(states[len(batch) :])
        total += len(batch) * contrastive(*sides, same=drawn.same).item()
    assert objective.eval_loss() == pytest.approx(total / len(rows), rel=1e-4)


def test_it_is_the_same_every_time_and_changes_nothing(objective):
    model = objective.model.train()
    torch.manual_seed(0)
    before = torch.rand(1).item()
    torch.manual_seed(0)
    assert objective.eval_loss() == objective.eval_loss()
    assert torch.rand(1).item() == before
    assert model.training
    assert all(one.grad is None for one in model.parameters())
    model.eval()


def test_an_evaluation_adds_it_and_stops_by_the_sum(tmp_path):
    """Patience 1 and a learning rate of 0: the second evaluation is no better, and ends the run."""
    aligned = {"pairs": FEW, "eval_pairs": HELD_OUT, "weight": 0.5}
    trainer = make_trainer(
        alignment=aligned,
        folder=str(tmp_path),
        max_steps=9,
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
        learning_rate=0.0,
        load_best_model_at_end=True,
        metric_for_best_model="eval_joint_loss",
    )
    trainer.add_callback(EarlyStoppingCallback(early_stopping_patience=1))
    trainer.train()
    rows = [row for row in trainer.state.log_history if "eval_loss" in row]
    assert [row["step"] for row in rows] == [1, 2]
    for row in rows:
        assert row["eval_align_loss"] == pytest.approx(trainer.objective.eval_loss())
        assert row["eval_joint_loss"] == pytest.approx(row["eval_loss"] + 0.5 * row["eval_align_loss"])
    assert trainer.state.best_metric == rows[0]["eval_joint_loss"]
    predicted = trainer.predict(trainer.eval_dataset).metrics
    assert "test_loss" in predicted
    assert not any("align" in key for key in predicted)
    assert "other_align_loss" not in trainer.evaluate(metric_key_prefix="other")


def test_what_is_refused():
    with pytest.raises(PairsError, match="the training pairs hold sentences that are measured too"):
        make_objective(pairs=FEW, eval_pairs=FEW)
    turned = ParallelPairs({code: HELD_OUT.texts[code] for code in ("deu_Latn", "spa_Latn")}, "deu_Latn")
    with pytest.raises(ArgumentError, match="eval_pairs=.* must have the pivot eng_Latn and be"):
        make_objective(pairs=FEW, eval_pairs=turned)
    with pytest.raises(ArgumentError, match="eval_loss is of eval_pairs: give pairs that are not trained on"):
        make_objective(pairs=FEW).eval_loss()


# What is drawn, in a trainer.


def test_a_trainer_draws_each_pair_once_and_then_aligns_no_more():
    """64 sentences in micro-batches of 3 and steps of 4: the last step of an epoch has fewer."""
    aligned = {"pairs": FEW, "epochs": 1, "batch_size": 2, "loss": "cosine"}
    accumulated = {"gradient_accumulation_steps": 4, "per_device_train_batch_size": 3, "num_train_epochs": 2}
    trainer = make_trainer(alignment=aligned, **accumulated, max_steps=-1)
    stream, drawn = trainer.objective._stream, []
    batch = stream.batch
    stream.batch = lambda rows, partner: drawn.extend(rows) or batch(rows, partner)
    trainer.train()
    probed, drawn = drawn[:2], drawn[2:]  # before the first step, a sentence is run
    assert probed
    assert sorted(drawn) == [(code, row) for code in sorted(FEW) for row in range(24)]
    assert trainer.objective.n_calls == 24
    rows = [row for row in trainer.state.log_history if "task_loss" in row]
    assert sum("align_loss" in row for row in rows) == 7  # 24 micro-batches: five steps of 4, 2, and 2 more
    assert len(rows) > 7


def test_in_alternation_no_turn_is_left_out():
    aligned = {"pairs": FEW, "epochs": 1, "batch_size": 8, "loss": "cosine", "mode": "alternate"}
    trainer = make_trainer(alignment=aligned, gradient_accumulation_steps=3, max_steps=6)
    stream, drawn = trainer.objective._stream, []
    batch = stream.batch
    stream.batch = lambda rows, partner: drawn.extend(rows) or batch(rows, partner)
    trainer.train()
    assert sorted(drawn[8:]) == [(code, row) for code in sorted(FEW) for row in range(24)]


# First tokens.


def test_first_tokens_are_compared_where_they_see_the_sentence():
    model = make_model("bert")
    objective = make_objective(model, FEW, pool="first", centre=False)
    sides = {"language": [], "pivot": []}
    drawn = objective._stream.draw(0)
    for side, lines in (("language", drawn.language_lines), ("pivot", drawn.pivot_lines)):
        for ids, _ in lines:
            states = model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[2]
            sides[side].append(states[0, 0])
    expected = contrastive(*(torch.stack(side) for side in sides.values()), same=drawn.same)
    assert objective(0).item() == pytest.approx(expected.item(), rel=1e-4)


def test_first_tokens_that_see_nothing_are_refused():
    with pytest.raises(ArgumentError, match="pool='first': in this model the first token does not see the"):
        make_objective(make_model("llama"), FEW, pool="first")
