"""A KeyboardInterrupt at any line of a write leaves the model as it was."""

import sys
from pathlib import Path

import pytest
import torch

import xalign.model
from tests.tiny import make_model
from xalign import Site
from xalign.model.write import Edit, write

FOLDER = Path(xalign.model.__file__).parent
FILES = {
    str(FOLDER / f"{name}.py")
    for name in ("write", "generation", "recorders", "edit_session", "prompt_tracker")
}
IDS = torch.tensor([[1, 20, 30]])


def steered(model, stop_at):
    """Generate under a write; the number of lines of its files that ran, and whether it was interrupted."""
    lines = 0

    def on_line(frame, event, arg):
        nonlocal lines
        if event == "line":
            lines += 1
            if lines == stop_at:
                raise KeyboardInterrupt
        return on_line

    before = sys.gettrace()
    sys.settrace(lambda frame, event, arg: on_line if frame.f_code.co_filename in FILES else None)
    try:
        with write(model, {Site("hidden", 1): Edit("add", 1.0)}, positions="prompt"):
            model.generate(IDS, max_new_tokens=2, min_new_tokens=2)
    except KeyboardInterrupt:
        return lines, True
    finally:
        sys.settrace(before)
    return lines, False


@pytest.mark.parametrize("every", [19, pytest.param(1, marks=pytest.mark.slow)])
def test_nothing_is_left_behind(every):
    """`generate` is replaced while a write is open, and transformers' hooks change places."""
    model = make_model("llama")
    model(input_ids=IDS, output_hidden_states=True)
    total, _ = steered(model, None)
    attributes = dict(vars(model))
    hooks = [list(module._forward_hooks) for module in model.modules()]
    assert total > 300
    for line in range(1, total + 1, every):
        _, interrupted = steered(model, line)
        assert interrupted
        assert vars(model) == attributes, line
        assert [list(module._forward_hooks) for module in model.modules()] == hooks, line
