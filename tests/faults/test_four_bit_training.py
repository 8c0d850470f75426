"""A QLoRA run on the CPU is not changed by being measured."""

import bitsandbytes
import pytest

from tests.monitor import cells
from tests.monitor.training import equal_to_the_bit

pytestmark = pytest.mark.filterwarnings("ignore")  # trainers warn of what they are asked to do here

CELL = ("Trainer", "QLoRA", "stored", "1-step", "float32", "eager", "one")


@pytest.mark.thorough
def test_a_four_bit_run_keeps_its_losses(tmp_path, monkeypatch):
    """The losses differed from the first measurement on: its forward repacked the 4-bit weights in place.

    bitsandbytes does so on processors with AVX512-BF16. Here every processor says that it is one.
    """
    build, layers = cells.build, []

    def as_on_such_a_processor(*args):
        trainer = build(*args)
        for module in trainer.model.modules():
            if isinstance(module, bitsandbytes.nn.Linear4bit):
                assert hasattr(module, "support_avx512bf16_for_cpu")
                module.support_avx512bf16_for_cpu = True
                layers.append(module)
        return trainer

    monkeypatch.setattr(cells, "build", as_on_such_a_processor)
    found = cells.run_cell(CELL, cells.prepare(tmp_path))
    assert len(layers) == 2 * 3 * 7 and found["steps"] == [0, 1, 2] and found["moved"]
    assert equal_to_the_bit(found["plain"], found["watched"])
    assert not any(getattr(layer.weight.quant_state, "packing_format_for_cpu", False) for layer in layers)
