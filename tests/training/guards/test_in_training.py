"""Guards in an objective and a trainer: against logits and states of the start, gradients, runs taken up."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.nn.functional import kl_div, log_softmax, softmax

from tests.tiny import make_model, make_tokenizer
from tests.training.runs import (
    BUNDLED,
    first_gradients,
    gradients_by_hand,
    make_trainer,
    minus,
    moved,
    relative_difference,
    training_pairs,
)
from tests.training.test_objective import gradients, make_objective
from xalign import AlignmentConfig
from xalign.errors import ArgumentError, ModelError
from xalign.losses.loss import Loss
from xalign.training.guards.start import Start

TEXTS = list(BUNDLED["deu_Latn"].sentences[100:116])
FEW = training_pairs().only(["deu_Latn", "spa_Latn"]).first(16)
GUARDS = {"kl": 0.5, "pivot_drift": 0.25, "l2_sp": 0.125, "replay": TEXTS, "replay_batch_size": 4}
LORA = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM")


@pytest.fixture(scope="module")
def adapted():
    """A PEFT model, an objective with all guards that was built at its start, and the model moved since."""
    model = get_peft_model(make_model("llama"), LORA)
    objective = make_objective(model, FEW, weight=0.0, replay_weight=0.0, **GUARDS)
    start = {name: one.detach().clone() for name, one in model.named_parameters() if one.requires_grad}
    return moved(model), objective, start


def documents(objective):
    """The replayed documents of the first micro-batch, one at a time, without padding."""
    batch = objective._replay.draw(0, 0, 0)
    return [ids[mask.bool()] for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)]


def test_guards_are_those_of_logits_and_states_with_the_adapters_off(adapted):
    model, objective, start = adapted
    divergence, count = 0.0, 0
    with torch.no_grad():
        for ids in documents(objective):
            now = model(input_ids=ids[None]).logits[0, :-1]
            with model.disable_adapter():
                before = model(input_ids=ids[None]).logits[0, :-1]
            divergence += kl_div(log_softmax(now, 1), softmax(before, 1), reduction="sum").item()
            count += len(now)
        squares = []
        for code, row in objective.pairs_of(0):
            text = objective.pairs[code].pivot_sentences[row]
            inputs = {"input_ids": torch.tensor([make_tokenizer()(text)["input_ids"]])}
            now = model(**inputs, output_hidden_states=True).hidden_states[2][0].mean(dim=0)
            with model.disable_adapter():
                before = model(**inputs, output_hidden_states=True).hidden_states[2][0].mean(dim=0)
            squares.append((now - before).square().mean().item())
    distance = sum(
        ((dict(model.named_parameters())[name] - one) ** 2).sum().item() / 2 for name, one in start.items()
    )
    expected = {"kl": divergence / count, "pivot_drift": sum(squares) / len(squares), "l2_sp": distance}
    total = objective(0).item()
    said = {name: value.item() for name, value in objective.last.guards.items()}
    assert said == pytest.approx(expected, rel=1e-4)
    assert min(expected.values()) > 1e-3  # not vacuous
    assert total == pytest.approx(sum(GUARDS[name] * value for name, value in expected.items()), rel=1e-4)
    assert objective.last.replay_loss is not None
    assert objective.last.loss is not None  # seen, and not trained on


def test_a_guard_that_is_off_costs_nothing_and_a_start_is_0(adapted):
    model, objective, _ = adapted
    plain = make_objective(model, FEW)
    plain(0)
    assert plain.last.guards == {}
    assert plain._guards.start is None
    assert not plain._guards.is_on
    fresh = make_objective(get_peft_model(make_model("llama"), LORA), FEW, **GUARDS)
    fresh(0)
    assert {name: value.item() for name, value in fresh.last.guards.items()} == {
        "l2_sp": 0.0,
        "kl": pytest.approx(0.0, abs=1e-9),
        "pivot_drift": pytest.approx(0.0, abs=1e-9),
    }


def of_tokens(language, pivot, *, language_mask, pivot_mask):
    """A token loss, whose states are not rounded to float32 by pooling."""
    return language[language_mask].square().mean() + pivot[pivot_mask].sin().mean()


def test_the_gradient_is_that_of_finite_differences():
    """In float64, along a random direction of all weights. Llama's norms and the loss of replay round."""
    model = make_model("gpt2").double()
    loss = Loss("of_tokens", of_tokens, level="token", state=torch.Tensor.double)
    objective = make_objective(model, FEW, loss=loss, layer=[0, 2], start="copy", replay_weight=0.0, **GUARDS)
    moved(model)
    found = gradients(objective)[1]
    weights = {name: one for name, one in model.named_parameters() if one.requires_grad}
    generator = torch.Generator().manual_seed(2)
    along = {
        name: torch.randn(one.shape, generator=generator, dtype=one.dtype) for name, one in weights.items()
    }
    values = []
    for step in (1e-5, -2e-5):
        with torch.no_grad():
            for name, one in weights.items():
                one += step * along[name]
        values.append(objective(0).item())
    slope = sum((found[name].double() * along[name]).sum().item() for name in weights)
    assert (values[0] - values[1]) / 2e-5 == pytest.approx(slope, rel=1e-6)
    assert objective(0).dtype == torch.float64


def test_a_copy_is_the_model_as_it_was_and_nothing_of_it_moves():
    model = make_model("llama")
    twin = copy.deepcopy(model)
    objective = make_objective(model, FEW, weight=0.0, start="copy", replay_weight=0.0, **GUARDS)
    moved(model)
    objective(0)
    inputs = {"input_ids": documents(objective)[0][None]}
    with objective._guards.start.running(model) as before:
        assert before is not model
        assert torch.equal(before(**inputs).logits, twin(**inputs).logits)
        assert not torch.equal(before(**inputs).logits, model(**inputs).logits)
        assert not torch.is_grad_enabled()
        assert not any(one.requires_grad for one in before.parameters())
    objective(0).backward()
    assert all(one.grad is None for one in objective._guards.start._copy.parameters())
    assert objective.last.guards["kl"] > 0


def test_a_copy_runs_itself_where_a_trainer_replaced_the_forward():
    """A replaced forward holds the model itself: a copy with it would always be 0 away."""
    model = make_model("llama")
    forward, ids = model.forward, torch.arange(4, 10)[None]
    model.forward = lambda *args, **kwargs: forward(*args, **kwargs)
    start = Start(model, "copy", "kl=0.1")
    was = model(input_ids=ids).logits
    moved(model)
    with start.running(model) as before:
        assert torch.equal(before(input_ids=ids).logits, was)
    assert not torch.equal(model(input_ids=ids).logits, was)


def test_the_adapters_of_a_start_are_put_back(adapted):
    model, objective, _ = adapted
    model.train()
    trained = [one.requires_grad for one in model.parameters()]
    ids = torch.arange(4, 10)[None]
    before = model(input_ids=ids).logits
    with objective._guards.start.running(model) as base:
        assert not torch.equal(base(input_ids=ids).logits, before)
        assert not model.training
    assert model.training
    assert trained == [one.requires_grad for one in model.parameters()]
    assert torch.equal(model(input_ids=ids).logits, before)
    assert torch.is_grad_enabled()


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore")
def test_a_trainers_gradient_is_the_tasks_plus_the_mean_of_the_micro_batches():
    """With LoRA, accumulation and checkpointing together, from weights that have moved."""
    made = {"lora": True, "gradient_accumulation_steps": 2, "gradient_checkpointing": True}
    trainer = make_trainer("trainer", {"pairs": FEW, "weight": 0.0, **GUARDS, "kl": 5.0}, **made)
    moved(trainer.model)
    pull = gradients_by_hand(trainer, 2)
    aligned = first_gradients(trainer)
    alone = make_trainer("trainer", **made)
    moved(alone.model)
    plain = first_gradients(alone)
    assert relative_difference(aligned, plain) > 1e-2  # not vacuous
    assert relative_difference(minus(aligned, plain), pull) < 1e-4
    (row,) = [row for row in trainer.state.log_history if "align_kl" in row]
    assert row["align_kl"] > 0
    assert row["align_pivot_drift"] > 0
    assert row["align_l2_sp"] > 0


@pytest.mark.thorough
def test_a_run_taken_up_holds_to_the_first_start_and_draws_what_it_would_have(tmp_path):
    """The start is the model that the trainer was given, not the checkpoint's."""
    aligned = {"pairs": FEW, "start": "copy", "epochs": 2, **GUARDS}
    kept = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "gradient_accumulation_steps": 2}
    whole = make_trainer(alignment=aligned, folder=str(tmp_path), **kept)
    whole.train()
    taken_up = make_trainer(alignment=aligned, folder=str(tmp_path), **kept)
    taken_up.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    for name, parameter in whole.model.named_parameters():
        assert torch.equal(parameter, dict(taken_up.model.named_parameters())[name]), name
    distances = [row["align_l2_sp"] for row in whole.state.log_history if "align_l2_sp" in row]
    assert distances[0] == 0
    assert distances[-1] > 0


def test_what_has_no_start_is_refused():
    model = make_model("llama")
    for options, wanted in (
        ({"kl": 0.1, "replay": TEXTS}, "kl=0.1"),
        ({"kl": 0.1, "pivot_drift": 2, "replay": TEXTS}, "kl=0.1 and pivot_drift=2"),
    ):
        with pytest.raises(ModelError, match=f"{wanted} compares with the model before .*start='copy'"):
            make_objective(model, FEW, **options)
    with pytest.raises(ModelError, match="replay needs a causal language model"):
        make_objective(make_model("bert"), FEW, kl=0.1, replay=TEXTS, start="copy")
    with pytest.raises(ArgumentError, match="kl=0.1 compares what the model expects in replayed text"):
        AlignmentConfig(kl=0.1)


def test_sharded_models_are_refused(monkeypatch):
    """Weights that are whole within a step gave half of the gradient of L2-SP under accumulation."""
    monkeypatch.setattr("xalign.training.guards.guards.is_sharded", lambda model: True)
    with pytest.raises(ModelError, match=r"l2_sp and losses that ask .* are not for sharded models"):
        make_objective(make_model("llama"), FEW, l2_sp=0.1)


def test_a_guard_that_is_not_finite_is_named():
    objective = make_objective(make_model("llama"), FEW, l2_sp=0.1)
    with torch.no_grad():
        objective.model.model.layers[2].mlp.up_proj.weight[0, 0] = float("inf")
    with pytest.raises(ModelError, match="the guard l2_sp is inf at step 3, micro-step 0: the model has"):
        objective(3)
