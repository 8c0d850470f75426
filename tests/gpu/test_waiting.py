"""No hook of a measurement waits for the device: torch itself raises where one would."""

from contextlib import contextmanager

import pytest
import torch

from tests.tiny import make_model, make_tokenizer
from tests.waiting import around_hooks
from xalign import load_pairs
from xalign.measurement import Measurement
from xalign.model.gathered import Gathered
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
def test_pooled_states_stay_on_the_device_and_nothing_waits_to_store_them(family, cuda, monkeypatch):
    stored, plain = [], Gathered.add

    def watched(gathered, batch, pooled):
        with refusing_to_wait():
            plain(gathered, batch, pooled)
        stored.append(gathered)

    monkeypatch.setattr(Gathered, "add", watched)
    measurement = Measurement(make_model(family).to(cuda), make_tokenizer(), PAIRS, token_budget=256)
    measurement.run()
    assert len(stored) == measurement.forwards > 2
    kept = [states for gathered in stored for states in gathered.states().values()]
    assert kept and all(states.is_cuda for states in kept)


def test_states_that_do_not_fit_on_the_device_go_to_the_cpu(cuda, monkeypatch):
    model, tokenizer = make_model("llama").to(cuda), make_tokenizer()
    expected = Measurement(model, tokenizer, PAIRS).run()
    plain, asked = torch.zeros, []

    def full(*size, device=None, **options):
        if torch.device(device or "cpu").type == "cuda":
            asked.append(size)
            if len(asked) > 5:
                raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(*size, device=device, **options)

    monkeypatch.setattr(torch, "zeros", full)
    found = Measurement(model, tokenizer, PAIRS).run()
    assert len(asked) > 5
    for row, of_row in expected.metrics.items():
        for code, bits in of_row.values.items():
            assert torch.equal(found.metrics[row].values[code], bits)


def test_cosines_come_from_the_device_at_once(cuda, monkeypatch):
    """A wait per language, not one per layer."""
    waits, synchronize = [], torch.cuda.Stream.synchronize

    def counted(stream):
        waits.append(stream)
        synchronize(stream)

    monkeypatch.setattr(torch.cuda.Stream, "synchronize", counted)
    Measurement(make_model("llama").to(cuda), make_tokenizer(), load_pairs("bundled", n=20)).run()
    assert len(waits) == len(load_pairs("bundled"))


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
