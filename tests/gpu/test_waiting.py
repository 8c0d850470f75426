"""No hook of a measurement waits for the device: torch itself raises where one would."""

from contextlib import contextmanager

import pytest
import torch

from tests.tiny import make_model, make_tokenizer
from tests.waiting import around_hooks
from xalign import load_pairs
from xalign.measurement import Measurement
from xalign.model import read
from xalign.model.on_cpu import on_cpu

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]

PAIRS = load_pairs("bundled", ["deu_Latn"], n=20)


@contextmanager
def refusing_to_wait():
    """An operation that waits for a CUDA device is an error within."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert", "qwen2_moe", "qwen3_moe"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("pool", ["weighted", "last"])
def test_no_hook_waits_for_the_device(family, dtype, pool, cuda, monkeypatch):
    measurement = Measurement(make_model(family).to(cuda, dtype), make_tokenizer(), PAIRS, pool=pool)
    with around_hooks(monkeypatch, refusing_to_wait) as seen:
        measurement.run()
    read = {reading.split(":")[0] for readings in measurement.readings.values() for reading in readings}
    assert {str(site) for site in seen} >= read  # not vacuous


@pytest.mark.parametrize("family", ["llama", "qwen3_moe"])
def test_pooled_states_leave_the_device_without_waiting_for_each(family, cuda, monkeypatch):
    """Between the last hook and the stored states there is one wait, for the stream as a whole."""
    stored, waits, plain = [], [], read._store
    synchronize = torch.cuda.Stream.synchronize

    def counted(stream):
        waits.append(stream)
        before = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("default")
        synchronize(stream)
        torch.cuda.set_sync_debug_mode(before)

    def watched(states, parts):
        stored.append({reading: values.cpu() for _, pooled in parts for reading, values in pooled.items()})
        with refusing_to_wait():
            plain(states, parts)

    monkeypatch.setattr(torch.cuda.Stream, "synchronize", counted)
    monkeypatch.setattr(read, "_store", watched)
    measurement = Measurement(make_model(family).to(cuda), make_tokenizer(), PAIRS, token_budget=256)
    measurement.run()
    assert len(stored) == measurement.forwards > 2
    assert len(waits) == len(stored)


def test_what_is_brought_to_the_cpu_is_what_was_there(cuda):
    given = {n: torch.randn(50 + n, 700, device=cuda) for n in range(20)} | {"cpu": torch.ones(3)}
    found = on_cpu(given)
    assert found.keys() == given.keys()
    for name, values in given.items():
        assert found[name].device.type == "cpu"
        assert torch.equal(found[name], values.cpu())


def test_waiting_is_an_error_there(cuda):
    with refusing_to_wait(), pytest.raises(RuntimeError, match="synchroniz"):
        torch.ones(3, device=cuda).sum().item()
