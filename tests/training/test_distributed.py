"""Two processes against one: the gradient of DDP and of FSDP2 is that of all pairs together."""

import json
from functools import cache
from pathlib import Path

import pytest
import torch

from tests.tiny import make_model
from tests.torchrun import torchrun
from tests.training.runs import (
    first_gradients,
    gradients_of,
    make_trainer,
    minus,
    moved,
    relative_difference,
    task_gradients_without,
    training_pairs,
)
from xalign import load_pairs
from xalign.losses.contrastive import contrastive
from xalign.training.calls import Calls

pytestmark = [pytest.mark.distributed, pytest.mark.thorough]
ACCUMULATED = {"gradient_accumulation_steps": 2}
TOKENS = {"loss": "transport", "transform": "subtract_means", "languages_per_batch": 2, "weight": 9.0}
# Words, each pair once, and all guards, whose gradients are 0 before weights have moved.
GUARDED = {
    "loss": "word_level",
    "links": {code: [[[0, 0]]] * 100 for code in training_pairs()},
    "epochs": 1,
    "kl": 0.5,
    "pivot_drift": 0.5,
    "l2_sp": 0.5,
    "replay": list(load_pairs("bundled")["deu_Latn"].sentences[150:166]),
    "replay_weight": 0.0,
}
MOVED = {"is_moved": True}
# Mode -> fields of an AlignmentConfig, and changes to the trainer's arguments.
CELLS = {
    "ddp": [
        ({}, ACCUMULATED),
        ({"loss": "neuron_state", "layer": "all"}, {"gradient_checkpointing": True}),
        ({"mode": "alternate"}, ACCUMULATED),
        ({"gather": True, "languages_per_batch": 1, "centre": False}, {}),
        (TOKENS, ACCUMULATED),
        (GUARDED, MOVED | ACCUMULATED | {"lora": True}),
    ],
    # The other losses of pairs.
    "more": [({"loss": name}, {}) for name in ("additive_margin", "hinge", "mse", "cka", "token_cka")],
    "fsdp": [({}, ACCUMULATED), ({"loss": "neuron_state", "layer": "all"}, {}), (TOKENS, {})],
}


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """Runs all of a mode in one launch, since starting costs more than a step, and returns its folder."""

    @cache
    def launch(mode):
        folder = tmp_path_factory.mktemp(mode)
        make_model("llama").save_pretrained(folder / "model")
        worker = Path(__file__).parent / "worker.py"
        ran = torchrun(worker, mode, json.dumps(CELLS[mode]), folder, timeout=500)
        assert ran.returncode == 0, ran.stderr[-3000:]
        return folder

    return launch


@pytest.fixture
def found(launched):
    """Per cell of a mode, the gradients of the first step of two processes and what one of them warned of."""
    return lambda mode: torch.load(launched(mode) / "found.pt")


def in_one_process(fields, is_moved=False, **changes):
    """The task's gradient of the same four sentences, and the mean pull of both processes' pairs."""
    micro_steps = range(changes.get("gradient_accumulation_steps", 1))
    turns = [one for one in micro_steps if one % 2] if fields.get("mode") == "alternate" else micro_steps
    trainer = make_trainer("trainer", fields, per_device_train_batch_size=4, **changes)
    objective, model = trainer.objective, moved(trainer.model) if is_moved else trainer.model
    objective.calls, objective._stream.processes = Calls(per_step=len(micro_steps)), 2
    draw, replay = objective._stream.draw, objective._replay
    documents = None if replay is None else replay.draw
    pulls = []
    for rank in (0, 1):
        objective._stream.draw = lambda step, micro_step, *_, rank=rank: draw(step, micro_step, rank)
        if replay is not None:
            replay.draw = lambda step, micro_step, *_, rank=rank: documents(step, micro_step, rank)
        for micro_step in turns:
            model.train()
            model.zero_grad()
            (objective(0, micro_step) / len(micro_steps) / 2).backward()
            pulls.append(gradients_of(model))
    pull = {name: sum(one[name] for one in pulls) for name in pulls[0]}
    left_out = turns if fields.get("mode") == "alternate" else []
    plain = task_gradients_without(left_out, is_moved, per_device_train_batch_size=4, **changes)
    return plain, pull


@pytest.mark.parametrize(
    ("mode", "cell"),
    [
        *(("ddp", cell) for cell in (0, 1, 2, 4, 5)),
        *(pytest.param("more", cell, marks=pytest.mark.slow) for cell in range(5)),
        *(pytest.param("fsdp", cell, marks=pytest.mark.slow) for cell in (0, 1, 2)),
    ],
)
def test_two_processes_take_the_gradient_of_one(mode, cell, found):
    gradients, warned = found(mode)[cell]
    fields, changes = CELLS[mode][cell]
    plain, pull = in_one_process(fields, **changes)
    assert relative_difference(pull, plain) > 0.1  # not vacuous
    assert relative_difference(minus(gradients, plain), pull) < 1e-5
    whole = sum("runs whole, head included" in message for message in warned)
    assert whole == (mode == "fsdp" or "mode" in fields)


def test_negatives_of_all_processes(found):
    fields, _ = CELLS["ddp"][3]
    gradients, _ = found("ddp")[3]
    trainer = make_trainer("trainer", fields | {"gather": False}, per_device_train_batch_size=4)
    objective, model = trainer.objective, trainer.model
    model.train()
    draws = [objective._stream.draw(0, 0, rank) for rank in (0, 1)]
    lines = [[*drawn.language_lines, *drawn.pivot_lines] for drawn in draws]
    sides = [objective._forward(model, each, [1]).by_block[0] for each in lines]
    language, pivot = (torch.cat([side[part] for side in sides]) for part in (slice(0, 8), slice(8, 16)))
    same = torch.cat([drawn.same for drawn in draws])
    contrastive(language, pivot, same=same).backward()
    pull = gradients_of(model)
    plain = first_gradients(make_trainer("trainer", per_device_train_batch_size=4))
    assert relative_difference(minus(gradients, plain), pull) < 1e-5


def test_the_first_process_decides_for_all(launched):
    folder = launched("ddp") / "controlled"
    first, second = (torch.load(folder / f"kept-{rank}.pt", weights_only=False) for rank in (0, 1))
    assert first["reasons"] == second["reasons"] == ["of process 0"] * 4
    assert first["alignment"] == second["alignment"]
    assert torch.equal(first["weights"], second["weights"])
    assert sum(first["pairs"].values()) == 2 * 4 * 12, "both processes' pairs, at half of eight steps"
