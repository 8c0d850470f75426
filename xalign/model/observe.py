"""`observing`: run a model without changing it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from xalign.model.class_forwards import ClassForwards
from xalign.model.hooks import remove_hooks
from xalign.model.merged import KeptMerged
from xalign.model.placement import device_of, refusing_empty
from xalign.model.snapshot import Snapshot
from xalign.model.torch_state import RandomState, TorchState
from xalign.model.turns import Turn
from xalign.model.undo import Steps, undo
from xalign.model.visit import hold_others


@contextmanager
def observing(model: nn.Module) -> Iterator[Snapshot]:
    """Set evaluation mode without gradient, and afterwards put back everything that a forward may change.

    That is training modes, buffers and attributes of the modules, which submodules and weights each of them
    holds, their configs, adapters that are merged, which weights are trained, gradient mode, autocast, the
    stance of torch's compiler, fused forwards, and the random number generators. It is put back after any
    exception, also if a `KeyboardInterrupt` comes between two lines of this very function.

    Attributes are put back with what is inside of dicts, lists, sets and deques, up to four within each
    other, and with the values of tensors up to 16 MiB and of `torch.Generator`s. Not put back are the state
    of objects of other classes, attributes of classes, global settings such as
    `torch.use_deterministic_algorithms`, the values of weights, hooks of the model's own that a forward adds,
    and larger tensors that it changes in place. Weights that FSDP2 exchanges are left to it.

    Only one thread observes a model at a time. Forwards of other threads wait until it is done.

    Args:
        model: The model.

    Yields:
        What the modules were before. `rewind` lets the next forward begin as the first one did.

    Raises:
        ModelError: Another thread is within a forward of the model; or a forward uses a weight that has no
            values.
    """
    turn = Turn(model)
    steps: Steps = [turn.give_back, lambda: remove_hooks(entries, lambda hook: hook.owner is turn)]
    entries = list(model.modules())
    try:
        try:
            turn.take()
            hold_others(model, turn)
            turn.refuse_running()
            before = _begin(model, steps)
            with refusing_empty(model):
                yield before
        finally:
            undo(steps)
    finally:
        undo(steps)


def _begin(model: nn.Module, steps: Steps) -> Snapshot:
    """Note what is, say in `steps` how it is put back, and set what an observation needs."""
    devices = {device_of(model), *(p.device for p in model.parameters() if not p.is_meta)}
    torch_state = TorchState({"cpu", *(device.type for device in devices)})
    randomness = RandomState(devices)
    forwards = ClassForwards()
    steps[:0] = [forwards.put_back]
    forwards.use(model.modules())
    before, merged = Snapshot(model), KeptMerged(model, only_disabled=True)
    steps[:0] = [merged.put_back, before.put_back, torch_state.put_back, randomness.put_back]
    torch.set_grad_enabled(False)
    # An autocast around this keeps the weights it cast. It shall not get ours, nor give us what it had before
    # the weights changed; and its own are part of a graph, so that it must keep them.
    torch.set_autocast_cache_enabled(False)
    merged.begin()
    for module, _ in before.training:
        # Not model.eval(), which some modules override to do more than this.
        module.training = _repacks_in_evaluation(module)
    return before


def _repacks_in_evaluation(module: nn.Module) -> bool:
    """Return whether a layer changes its weights permanently when it runs in evaluation mode.

    The 4-bit Linear of bitsandbytes does so on CPUs with AVX512-BF16: it rounds its scales to bfloat16, and
    the repacked weights pass on no gradient in later training. It has no dropout, so that training mode gives
    the same values.
    """
    return hasattr(module, "support_avx512bf16_for_cpu")
