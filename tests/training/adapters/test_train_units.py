"""Chosen neurons move; everything else stays equal to the bit."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import Trainer, TrainingArguments

from tests.tiny import FFN, make_model, make_tokenizer
from xalign import UnitSet
from xalign.errors import ArgumentError, ArgumentTypeError, ModelError, UnitsError
from xalign.training.adapters.train_units import train_units

NEURONS = {0: [3, 17, 79], 2: [0, 5]}
LLAMA = {
    "model.layers.{}.mlp.gate_proj.weight": (0, 0),
    "model.layers.{}.mlp.up_proj.weight": (0, 0),
    "model.layers.{}.mlp.down_proj.weight": (1, 0),
}
# For each family: parameter -> (dimension, where the neurons begin), written down by hand.
PARTS = {
    "llama": [LLAMA],
    "qwen3": [LLAMA],
    "gemma3_text": [LLAMA],
    "gpt2": [
        {
            "transformer.h.{}.mlp.c_fc.weight": (1, 0),
            "transformer.h.{}.mlp.c_fc.bias": (0, 0),
            "transformer.h.{}.mlp.c_proj.weight": (0, 0),
        }
    ],
    "phi3": [
        {
            "model.layers.{}.mlp.gate_up_proj.weight": (0, 0),
            "model.layers.{}.mlp.down_proj.weight": (1, 0),
        },
        {"model.layers.{}.mlp.gate_up_proj.weight": (0, FFN)},
    ],
    "bert": [
        {
            "encoder.layer.{}.intermediate.dense.weight": (0, 0),
            "encoder.layer.{}.intermediate.dense.bias": (0, 0),
            "encoder.layer.{}.output.dense.weight": (1, 0),
        }
    ],
}
BATCH = {
    "input_ids": torch.arange(5, 29).reshape(2, 12),
    "attention_mask": torch.ones(2, 12, dtype=torch.long),
}


def chosen(**provenance):
    rows = [("deu_Latn", f"{layer}.inner", one, 1.0, 0.0) for layer in NEURONS for one in NEURONS[layer]]
    return UnitSet.from_rows(rows, provenance)


def first_of(output):
    return output.logits if hasattr(output, "logits") else output.last_hidden_state


def train(model, parameters, steps=100):
    """AdamW with decay, on whatever the model gives."""
    model.train()
    optimizer = torch.optim.AdamW(parameters, lr=1e-2, weight_decay=0.1)
    for _ in range(steps):
        first_of(model(**BATCH)).pow(2).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


def moved(before, after):
    """Parameter -> the places that differ."""
    assert before.keys() == after.keys()
    return {
        name: before[name] != after[name] for name in before if not torch.equal(before[name], after[name])
    }


def expected(family, shapes):
    """Parameter -> the places that may differ, by hand."""
    found = {}
    for parts in PARTS[family]:
        for template, (dim, start) in parts.items():
            for layer, neurons in NEURONS.items():
                name = template.format(layer)
                places = found.setdefault(name, torch.zeros(shapes[name], dtype=torch.bool))
                places.index_fill_(dim, torch.tensor(neurons) + start, value=True)
    return found


@pytest.mark.parametrize("family", PARTS)
def test_only_the_neurons_move(family):
    """After 100 steps of AdamW with decay the rest is equal to the bit, and every chosen part has moved."""
    model = make_model(family)
    before = copy.deepcopy(model.state_dict())
    plain = first_of(model(**BATCH))
    trained = train_units(model, chosen())
    assert torch.equal(first_of(model(**BATCH)), plain)
    train(model, model.parameters())  # as a trainer does: all of them, most of them frozen
    inside = first_of(model(**BATCH))
    trained.merge()
    assert torch.equal(first_of(model(**BATCH)), inside)
    assert not torch.equal(inside, plain)
    differing = moved(before, model.state_dict())
    wanted = expected(family, {name: value.shape for name, value in before.items()})
    assert differing.keys() == wanted.keys()
    for name, places in differing.items():
        assert not (places & ~wanted[name]).any(), name
        assert (places & wanted[name]).sum() > 0.9 * wanted[name].sum(), name


def test_a_neuron_is_the_same_at_every_site_of_a_network():
    """Gate, activated gate and the input of the down projection count neurons alike."""
    slices = []
    for kind in ("gate", "act", "inner"):
        rows = [("x", f"{layer}.{kind}", one, 1.0, 0.0) for layer in NEURONS for one in NEURONS[layer]]
        trained = train_units(make_model("llama"), UnitSet.from_rows(rows))
        slices.append([(cut.path, cut.name, cut.dim, cut.index.tolist()) for cut in trained.slices])
    assert slices[0] == slices[1] == slices[2]
    assert len(slices[0]) == 6


@pytest.mark.parametrize("rank", [None, 2])
def test_removed_the_model_is_as_before(rank):
    model = make_model("llama")
    model.lm_head.requires_grad_(requires_grad=False)
    flags = {name: one.requires_grad for name, one in model.named_parameters()}
    before = copy.deepcopy(model.state_dict())
    trained = train_units(model, chosen(), rank=rank)
    train(model, trained.parameters, steps=3)
    trained.remove()
    assert not moved(before, model.state_dict())
    assert {name: one.requires_grad for name, one in model.named_parameters()} == flags
    with pytest.raises(ModelError, match="merged or removed before"):
        trained.merge()


@pytest.mark.parametrize("family", ["llama", "gpt2", "phi3"])
def test_a_low_rank_update_of_gates(family):
    """The update of the chosen rows has the rank asked for, and nothing else moves."""
    model = make_model(family)
    before = copy.deepcopy(model.state_dict())
    rows = [("x", "1.inner", one, 1.0, 0.0) for one in range(6)]
    trained = train_units(model, UnitSet.from_rows(rows), weights=["gate"], rank=2)
    width = before[next(iter(PARTS[family][0])).format(1)].numel() // FFN // (2 if family == "phi3" else 1)
    assert sum(one.numel() for one in trained.parameters) == 2 * (6 + width)
    train(model, trained.parameters, steps=20)
    trained.merge()
    ((name, places),) = moved(before, model.state_dict()).items()
    dim = next(iter(PARTS[family][0].values()))[0]
    assert places.any(1 - dim).nonzero().ravel().tolist() == list(range(6))
    change = (model.state_dict()[name] - before[name]).index_select(dim, torch.arange(6))
    sizes = torch.linalg.svdvals(change)
    assert sizes[1] > 1e-4 * sizes[0] > sizes[2] * 10


def test_a_head_can_be_trained_too():
    model = make_model("llama")
    trained = train_units(model, chosen(), modules_to_save=["lm_head"])
    assert model.lm_head.weight.requires_grad
    assert sum(one.requires_grad for one in model.parameters()) == 1 + len(trained.parameters)


def test_a_trainer_saves_and_resumes(tmp_path):
    """A run that is resumed from its checkpoint ends where an uninterrupted one does."""
    tokenizer = make_tokenizer()
    rows = [dict(tokenizer(text), labels=tokenizer(text)["input_ids"]) for text in ["It rains."] * 8]

    def run(steps, resume=None, folder="run"):
        model = make_model("llama")
        trained = train_units(model, chosen())
        settings = {"per_device_train_batch_size": 2, "save_steps": 2, "report_to": "none"}
        settings |= {"lr_scheduler_type": "constant", "weight_decay": 0.1, "use_cpu": True}
        arguments = TrainingArguments(
            str(tmp_path / folder),
            max_steps=steps,
            **settings,
        )
        Trainer(model, arguments, train_dataset=rows).train(resume_from_checkpoint=resume)
        trained.merge()
        return model.state_dict()

    whole = run(4, folder="whole")
    run(2)
    resumed = run(4, resume=str(tmp_path / "run" / "checkpoint-2"))
    assert not moved(whole, resumed)
    assert moved(whole, make_model("llama").state_dict())


@pytest.mark.parametrize(
    ("units", "options", "error", "message"),
    [
        (UnitSet(()), {}, ArgumentError, "units is empty"),
        ("deu", {}, ArgumentTypeError, "must be a UnitSet, not str"),
        (chosen(), {"weights": ["gates"]}, ArgumentError, "weights=.* must be some of gate, up, down"),
        (chosen(), {"weights": []}, ArgumentError, "weights="),
        (chosen(), {"rank": 0}, ArgumentError, "rank=0 must be at least 1"),
        (chosen(), {"modules_to_save": ["score"]}, ArgumentError, "no such module"),
        (UnitSet.from_rows([("x", "1.inner", FFN, 1, 1)]), {}, ArgumentError, "outside site 1.inner"),
        (UnitSet.from_rows([("x", "1.attn_out", 0, 1, 1)]), {}, ArgumentError, "no neurons"),
        (UnitSet.from_rows([("x", "9.inner", 0, 1, 1)]), {}, ModelError, "9"),
        (chosen(shape={"model_type": "bert"}, model="other"), {}, UnitsError, "do not fit"),
    ],
)
def test_what_cannot_be_trained_is_refused(units, options, error, message):
    model = make_model("llama")
    before = [one.requires_grad for one in model.parameters()]
    with pytest.raises(error, match=message):
        train_units(model, units, **options)
    assert [one.requires_grad for one in model.parameters()] == before


def test_experts_are_refused():
    units = UnitSet.from_rows([("x", "1.expert_inner", 0, 1.0, 1.0)])
    with pytest.raises(ArgumentError, match="no neurons of a feed-forward network"):
        train_units(make_model("qwen3_moe"), units)


def test_adapters_and_neurons_twice_are_refused():
    adapted = get_peft_model(make_model("llama"), LoraConfig(target_modules=["down_proj"]))
    with pytest.raises(ModelError, match="has an adapter"):
        train_units(adapted, chosen())
    model = make_model("llama")
    train_units(model, chosen())
    with pytest.raises(ModelError, match="already"):
        train_units(model, chosen())
