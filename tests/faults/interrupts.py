"""A `KeyboardInterrupt` at a chosen line, and a picture of everything that it may have left changed."""

import linecache
import random
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch._dynamo.eval_frame as compiler
from torch import nn

import xalign
from xalign.model import hook_session, turns
from xalign.model.eager import EAGER

PACKAGE = str(Path(xalign.__file__).parent)
# What xalign opens a `with` with, and registers hooks with.
TOOLS = ("contextlib.py", "torch/utils/_contextlib.py", "torch/utils/hooks.py", "torch/nn/modules/module.py")


@cache
def kind_of(code) -> str:
    path = code.co_filename
    if path.startswith(PACKAGE):
        return "own"
    is_tool = path.endswith(TOOLS) and code.co_name not in ("_call_impl", "_wrapped_call_impl")
    return "tool" if is_tool else "other"


def is_watched(frame) -> bool:
    """Whether a frame is of xalign, or of a tool that xalign called."""
    kind = kind_of(frame.f_code)
    if kind != "tool":
        return kind == "own"
    caller = frame.f_back
    while caller is not None and caller.f_code.co_filename.endswith(TOOLS[:1]):
        caller = caller.f_back
    return caller is not None and caller.f_code.co_filename.startswith(PACKAGE)


class Interrupter:
    """Counts the lines that are run inside the `with`, and interrupts at one of them.

    Args:
        at: A line (file, number) and how many times it has been run by then; None never interrupts.
    """

    def __init__(self, at=None):
        self.at, self.lines = at, Counter()

    def __enter__(self):
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_):
        sys.settrace(None)

    def _trace(self, frame, event, _):
        if event == "call":
            return self._trace if is_watched(frame) else None
        if event == "line":
            line = frame.f_code.co_filename, frame.f_lineno
            self.lines[line] += 1
            if self.at == (line, self.lines[line]):
                raise KeyboardInterrupt
        return self._trace


def draw(lines: Counter, count: int, seed: int) -> list:
    """Draw moments to interrupt at: each line is as likely as any other, however often it is run."""
    chosen = random.Random(seed)
    places = sorted(lines)
    drawn = [chosen.choice(places) for _ in range(count)]
    return [(line, chosen.randint(1, lines[line])) for line in drawn]


def named(at) -> str:
    (path, number), time = at
    return f"{Path(path).name}:{number} (time {time}): {linecache.getline(path, number).strip()}"


def picture_of(model: nn.Module) -> dict[str, object]:
    """Name -> what it is, for all that an observer must leave alone: of the model, of torch and of xalign."""
    found: dict[str, object] = {}
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            inside = value
            if isinstance(value, dict):
                inside = [(key, Kept(one)) for key, one in value.items()]
            elif isinstance(value, list | set):
                inside = [Kept(one) for one in value]
            found[f"{path}.{name}"] = (Kept(value), inside if isinstance(inside, list) else None)
        for name in ("config", "generation_config"):
            if hasattr(vars(module).get(name), "to_dict"):
                found[f"{path}.{name}.values"] = repr(vars(module)[name].to_dict())
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        found[f"{name} (values)"] = Values(tensor)
        found[f"{name} (trained)"] = (tensor.requires_grad, tensor.grad is None)
    return found | picture_of_torch()


def picture_of_torch() -> dict[str, object]:
    """The settings of torch, the generators of random numbers, and what xalign has open."""
    nesting = torch.autocast_increment_nesting()
    torch.autocast_decrement_nesting()
    return {
        "gradient mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu"), nesting),
        "autocast cache": torch.is_autocast_cache_enabled(),
        "stance": Kept(compiler._stance),
        # Not Python's own: beartype draws from it to check containers, in tests.
        "random": Values(torch.get_rng_state()),
        "numpy's random": np.random.get_state()[1].tobytes(),
        "observers": len(turns._OBSERVERS),
        "forwards in progress": len(hook_session.ACTIVE.sessions),
        "visits open": len(EAGER._open),
    }


class Kept:
    """An object itself: equal to nothing else, and alive, so that no other takes its id."""

    def __init__(self, value):
        self.value = value

    def __eq__(self, other):
        plain = isinstance(self.value, bool | int | float | str | type(None))
        return self.value is other.value or (plain and self.value == other.value)

    __hash__ = None

    def __repr__(self):
        return f"{type(self.value).__name__}({self.value!r:.40})"


class Values:
    """A tensor's values as they are now."""

    def __init__(self, tensor):
        self.values = tensor.detach().clone()

    def __eq__(self, other):
        return torch.equal(self.values, other.values)

    __hash__ = None


def changes(before: dict, after: dict) -> list[str]:
    """Name what differs between two pictures."""
    names = [*before, *(name for name in after if name not in before)]
    return [
        f"{name}: {before.get(name)!r:.80} -> {after.get(name)!r:.80}"
        for name in names
        if name not in before or name not in after or before[name] != after[name]
    ]
