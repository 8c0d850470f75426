"""A `KeyboardInterrupt` between any two lines leaves nothing behind."""

import pytest
import torch
from transformers import DataCollatorForLanguageModeling, Trainer, TrainingArguments, set_seed

from tests.faults.interrupts import Interrupter, changes, draw, named, picture_of, picture_of_torch
from tests.monitor.training import COMMON, DROPOUT
from tests.tiny import make_model, make_tokenizer
from tests.training.runs import training_pairs
from xalign import (
    AlignmentCallback,
    AlignmentConfig,
    ParallelPairs,
    UnitSet,
    load_pairs,
    measure,
    steer,
    with_alignment,
)
from xalign.model.hooks import hooks_of
from xalign.model.undo import undo

_ALL = load_pairs("bundled")["deu_Latn"]
PAIRS = ParallelPairs({"eng_Latn": _ALL.pivot_sentences[100:104], "deu_Latn": _ALL.sentences[100:104]})
TRAINED = training_pairs()
IDS = torch.arange(4, 14).reshape(2, 5)
UNITS = UnitSet.from_rows([("deu_Latn", "1.inner", 7, 0.9, 2.5), ("deu_Latn", "0.inner", 3, 0.9, 1.5)])


def measuring(model):
    return measure(model, make_tokenizer(), PAIRS, ["nasca", "mexa"], token_budget=120)


def steering(model):
    with torch.no_grad(), steer(model, UNITS):
        return model(input_ids=IDS).logits


def generating(model):
    with steer(model, UNITS, positions="generated"):
        return model.generate(IDS, max_new_tokens=3, do_sample=False)


def the_same(first, second):
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    rows = zip(first.to_rows(), second.to_rows(), strict=True)
    return all(one["value"] == two["value"] for one, two in rows)


def long_form(quick, slow):
    return pytest.mark.parametrize("count", [quick, pytest.param(slow, marks=pytest.mark.slow)])


def interrupted(run, moments):
    """Run once per moment, interrupted there; yields the moments, each after its run."""
    fired = 0
    for at in moments:
        try:
            with Interrupter(at):
                run()
        except KeyboardInterrupt:
            fired += 1
        yield at
    # What a run keeps for the next one is not run again: one in ten or so, and of few moments by chance more.
    assert fired > 0.6 * len(moments)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("run", [measuring, steering, generating], ids=lambda run: run.__name__)
@long_form(15, 290)
def test_an_interrupt_leaves_nothing(run, count):
    """400 interrupts left hooks, evaluation mode and no-gradient mode behind, and a lock held."""
    model = make_model("llama").train()
    model.generation_config.pad_token_id = 0
    model.model.layers[1].eval()
    expected = run(model)  # also what the first run alone sets up
    with Interrupter() as seen:
        assert the_same(run(model), expected)
    assert len(seen.lines) > 80  # not vacuous
    before = picture_of(model)
    for at in interrupted(lambda: run(model), draw(seen.lines, count, seed=count)):
        left = changes(before, picture_of(model))
        assert not left, f"{named(at)}: {left[:5]}"
    assert the_same(run(model), expected)


def a_trainer(folder):
    set_seed(0)
    tokenizer = make_tokenizer()
    data = [{"input_ids": tokenizer(text)["input_ids"]} for text in TRAINED["deu_Latn"].sentences[:4]]
    trainer = with_alignment(Trainer)(
        model=make_model("llama", **DROPOUT).train(),
        args=TrainingArguments(str(folder), **COMMON | {"max_steps": 1, "per_device_train_batch_size": 2}),
        train_dataset=data,
        processing_class=tokenizer,
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
        alignment=AlignmentConfig(pairs=TRAINED, batch_size=4, layer=1),
    )
    trainer.add_callback(AlignmentCallback(trainer, PAIRS, every=1, metrics=("nasca",), save_reports=False))
    return trainer


OF_RUNS = ("random", "numpy's random")  # training draws from them


@pytest.mark.filterwarnings("ignore")
@long_form(2, 190)
def test_an_interrupted_training_leaves_nothing_of_xalign(count, tmp_path):
    """An interrupted run left the model in evaluation mode, hooked, and torch without gradient."""
    first = a_trainer(tmp_path / "first")
    first.train()
    attributes = attributes_of(first.model)
    with Interrupter() as seen:
        a_trainer(tmp_path / "counted").train()
    torch_before = picture_of_torch()
    trainers = []

    def run():
        trainers.append(a_trainer(tmp_path / f"run-{len(trainers)}"))
        trainers[-1].train()

    for at in interrupted(run, draw(seen.lines, count, seed=count)):
        left = changes(torch_before, picture_of_torch())
        left = [one for one in left if not one.startswith(OF_RUNS)]
        if trainers:
            model = trainers.pop().model
            trainers.clear()
            left += [f"hook {hook}" for hook in hooks_of(model.modules())]
            left += [f"attribute {name}" for name in attributes_of(model) - attributes]
            left += [f"mode of {name}" for name, module in model.named_modules() if not module.training]
            report = measuring(model)
            fresh = make_model("llama", **DROPOUT)
            fresh.load_state_dict(model.state_dict())
            assert the_same(report, measuring(fresh)), named(at)
        assert not left, f"{named(at)}: {left[:5]}"


def attributes_of(model):
    return {(path, name) for path, module in model.named_modules() for name in vars(module)}


def test_what_is_put_back_is_put_back_whatever_happens():
    """A second interrupt while the first was handled left half of the modes changed."""
    done = []

    def interrupt(times=[3]):  # noqa: B006
        if times[0]:
            times[0] -= 1
            raise KeyboardInterrupt
        done.append("interrupted")

    def fail():
        done.append("failed")
        raise ZeroDivisionError

    steps = [interrupt, fail, lambda: done.append("last")]
    with pytest.raises(ZeroDivisionError):
        undo(steps)
    assert done == ["interrupted", "failed", "last"]
    assert not steps
