"""A mixture of experts is watched, aligned, searched, steered and saved as any other model is."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.mixtures import make_mixture
from tests.tiny import make_tokenizer
from tests.training.runs import (
    BUNDLED,
    first_gradients,
    gradients_by_hand,
    make_trainer,
    minus,
    relative_difference,
    rows_of,
    training_pairs,
)
from xalign import AlignmentCallback, AlignmentMonitor, UnitSet, find_units, load_pairs, steer

PAIRS = load_pairs("bundled", ["deu_Latn"], n=8)
HELD_OUT = rows_of(BUNDLED, 100, 108)


def attributes(model):
    """What stands in the modules of a model beside parameters."""
    return [sorted(vars(one)) for one in model.modules()]


def test_a_monitor_harms_nothing():
    model = make_mixture().train()
    before, inputs = attributes(model), make_tokenizer()("Es regnet.", return_tensors="pt")
    monitor = AlignmentMonitor(model, make_tokenizer(), PAIRS, every=1)
    optimizer, logits = torch.optim.SGD(model.parameters(), lr=0.1), []
    for step in range(2):
        logits.append(model(**inputs).logits)
        report = monitor.step(step)
        assert torch.equal(model(**inputs).logits, logits[-1])
        assert model.training and attributes(model) == before
        logits[-1].square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    first, last = (report.summary() for report in monitor.reports)
    assert first and first != last
    assert any("expert" in reading for result in report.metrics.values() for reading in result.readings)


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore")
def test_aligned_gradients_are_the_tasks_plus_the_objectives():
    aligning = {"loss": "contrastive", "layer": 1, "weight": 0.5}
    trainer = make_trainer("trainer", aligning, model=make_mixture())
    pull = gradients_by_hand(trainer, 1)
    aligned = first_gradients(trainer)
    plain = first_gradients(make_trainer("trainer", model=make_mixture()))
    assert any("experts" in name for name in pull)
    assert relative_difference(aligned, plain) > 0.1  # not vacuous
    assert relative_difference(minus(aligned, plain), pull) < 1e-5


@pytest.mark.filterwarnings("ignore")
def test_trained_found_steered_and_saved(tmp_path):
    tokenizer, weights = make_tokenizer(), []
    for watched in (False, True):
        trainer = make_trainer(
            "trainer", {"loss": "contrastive", "layer": 1}, model=make_mixture(), max_steps=2, folder=tmp_path
        )
        if watched:
            trainer.add_callback(AlignmentCallback(trainer, HELD_OUT, every=1))
        trainer.train()
        weights.append(trainer.model.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    model = trainer.model.eval()
    units = find_units(model, tokenizer, training_pairs().first(8).texts, share=0.05)
    model.save_pretrained(tmp_path / "model")
    units.save_pretrained(tmp_path / "units")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    found = UnitSet.from_pretrained(tmp_path / "units")["deu_Latn"]
    inputs = tokenizer("Es regnet.", return_tensors="pt")
    outcomes = []
    for one in (model, again):
        with torch.no_grad(), steer(one, found, strength=3.0):
            outcomes.append(one(**inputs).logits)
    assert torch.allclose(*outcomes, atol=1e-6)
    with torch.no_grad():
        assert (again(**inputs).logits - outcomes[1]).abs().max() > 1e-3
