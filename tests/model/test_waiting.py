"""Measuring waits for no device inside a forward: on a GPU it would stand still at every site otherwise.

tests/gpu/test_waiting.py asks torch itself, on a CUDA device.
"""

import pytest
import torch

from tests.tiny import make_model, make_tokenizer
from tests.waiting import NotesWaiting, around_hooks
from xalign import load_pairs
from xalign.measurement import Measurement
from xalign.model.architectures.places import Activation

PAIRS = load_pairs("bundled", ["deu_Latn"], n=6)
ROUTED = {"metrics": ["nasca", "navca", "mexa", "retrieval", "routing"]}


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("llama", {}),
        ("llama", {"pool": "last"}),
        ("llama", {"pool": "max", "metrics": ["nasca", "mexa"]}),
        ("gpt2", {}),
        ("bloom", {}),
        ("bert", {}),
        ("qwen2_moe", {}),
        ("qwen3_moe", ROUTED),
    ],
)
def test_no_hook_waits_for_a_device(family, options, monkeypatch):
    measurement = Measurement(make_model(family), make_tokenizer(), PAIRS, **options)
    # Worked out once for a map, of numbers that lie on the CPU.
    monkeypatch.setattr(Activation, "keeps_sign", property(lambda activation: True))
    found: list[str] = []
    with around_hooks(monkeypatch, lambda: NotesWaiting(found)) as seen:
        measurement.run()
    # Not vacuous: every site was seen within it.
    read = {reading.split(":")[0] for readings in measurement.readings.values() for reading in readings}
    assert {str(site) for site in seen} >= read
    assert found == []


def test_what_waits_is_noted():
    found: list[str] = []
    values, mask = torch.ones(4), torch.tensor([True, False, True, True])
    with NotesWaiting(found):
        values.sum().item()
        bool(mask.any())
        values[mask]
        values[torch.tensor([0, 1])]
        mask.nonzero()
    assert found == ["aten._local_scalar_dense"] * 2 + ["aten.index", "aten.nonzero"]
