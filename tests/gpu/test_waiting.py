"""No hook of a measurement waits for the device: torch itself raises where one would."""

from contextlib import contextmanager

import pytest
import torch

from tests.tiny import make_model, make_tokenizer
from tests.waiting import around_hooks
from xalign import load_pairs
from xalign.measurement import Measurement

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


def test_waiting_is_an_error_there(cuda):
    with refusing_to_wait(), pytest.raises(RuntimeError, match="synchroniz"):
        torch.ones(3, device=cuda).sum().item()
