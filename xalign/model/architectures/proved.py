"""`proved_stacks`: the stacks of a model, found in one forward and proved in another, and kept."""

from collections.abc import Callable, Hashable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import nn

from xalign.model.architectures.aside import has_hooks_of_xalign, has_own_hooks, hooks_aside
from xalign.model.architectures.claims import StackClaim
from xalign.model.architectures.define import define
from xalign.model.architectures.example import LINES, arguments_of, caller, example_inputs
from xalign.model.architectures.proof import BlockProof, prove
from xalign.model.architectures.resident import weights_of
from xalign.model.architectures.same_flow import common_flow_of, flow_of
from xalign.model.architectures.trace import trace
from xalign.model.eager import EAGER
from xalign.model.undo import Steps, undo

Run = Callable[[], Any]
Result = TypeVar("Result")
_SEEDS = 1, 2


@dataclass(frozen=True, slots=True)
class ProvedStack:
    """One stack of a model.

    Attributes:
        claim: Where it is.
        blocks: What was proved of its blocks.
    """

    claim: StackClaim
    blocks: tuple[BlockProof, ...]


class NotRun(Exception):  # noqa: N818
    """Why a model could not be run on an example."""


def find_stacks(model: nn.Module, first: Run, second: Run, lines: int = LINES) -> tuple[ProvedStack, ...]:
    """Find the stacks of a model in a forward, and prove what was found in another.

    Args:
        model: The model.
        first: Runs it.
        second: Runs it on other inputs of the same shapes.
        lines: Number of sentences in the inputs.
    """
    claims = define(trace(model, first), lines, weights_of(model, torch.float64))
    proofs = prove(model, second, claims)
    return tuple(ProvedStack(claim, tuple(proof)) for claim, proof in zip(claims, proofs, strict=True))


def proved_stacks(model: nn.Module) -> tuple[ProvedStack, ...]:
    """Return the stacks of a model. They are found once, and anew when something in it was changed.

    The model is run twice on two short lines, under the guarantees of `observing`: nothing in it changes.

    Raises:
        NotRun: The model cannot be run on such lines, with what it said.
    """
    known, flow = _KEPT.get(model), flow_of(model)
    if known is not None and known[0] == flow:
        return known[1]
    # A model that is being steered or visited may compute something else: what is found then is its own.
    common = None if has_hooks_of_xalign(model) else common_flow_of(model)
    stacks = _COMMON.get(common) if common is not None else None
    if stacks is None:
        stacks = _run(model)
        if common is not None:
            _COMMON.pop(next(iter(_COMMON)) if len(_COMMON) >= _MOST_KEPT else None, None)
            _COMMON[common] = stacks
    _KEPT[model] = flow, stacks
    return stacks


_KEPT: "WeakKeyDictionary[nn.Module, tuple[Hashable, tuple[ProvedStack, ...]]]" = WeakKeyDictionary()
_COMMON: dict[Hashable, tuple[ProvedStack, ...]] = {}
_MOST_KEPT = 64


def proofs_of(model: nn.Module, claims: Sequence[StackClaim]) -> list[list[BlockProof]]:
    """Return what a proof says of other claims about a model that `proved_stacks` could run.

    Raises:
        NotRun: The model cannot be run.
    """
    return _with_example(model, lambda _, second: prove(model, second, claims))


def _run(model: nn.Module) -> tuple[ProvedStack, ...]:
    return _with_example(model, lambda first, second: find_stacks(model, first, second))


def _with_example(model: nn.Module, work: Callable[[Run, Run], Result]) -> Result:
    """Do something with two runs of a model, on the first example that it takes.

    The hooks that its user has put on it are not called, unless it does not run without them.
    """
    if has_own_hooks(model):
        with suppress(NotRun):
            return _on_example(model, work, without_own_hooks=True)
    return _on_example(model, work)


def _on_example(
    model: nn.Module, work: Callable[[Run, Run], Result], without_own_hooks: bool = False
) -> Result:
    from xalign.model.observe import observing  # which reads models, and maps them

    session = object()
    aside = hooks_aside(model) if without_own_hooks else nullcontext()
    # Under `torch.device("meta")` nothing has values.
    here = torch.device("cpu") if torch.empty(0).is_meta else nullcontext()
    steps: Steps = [partial(EAGER.end, session)]
    with here, observing(model) as before, aside:
        try:
            try:
                EAGER.begin(session)
                return _on_first_that_runs(model, work, before.rewind)
            finally:
                undo(steps)
        finally:
            undo(steps)


# A function of its own: Python 3.11 calls no `finally` around where an interrupt comes at a `try:` within it.
def _on_first_that_runs(
    model: nn.Module, work: Callable[[Run, Run], Result], rewind: Callable[[], None]
) -> Result:
    said = (
        f"its forward takes {', '.join(arguments_of(model)) or 'nothing'}, and none of input_ids, "
        "input_features and input_values"
    )
    for examples in zip(*(example_inputs(model, seed) for seed in _SEEDS), strict=True):
        first, second = (_guarded(caller(model, inputs), rewind) for inputs in examples)
        try:
            return work(first, second)
        except NotRun as error:
            said = str(error)
    raise NotRun(said)


def _guarded(run: Run, rewind: Callable[[], None]) -> Run:
    """Let a run begin as the first one did, and tell its errors from those of this file."""

    def guarded() -> Any:
        rewind()
        try:
            return run()
        except Exception as error:  # of the model: whatever it raises, it does not run
            raise NotRun(f"{type(error).__name__}: {error!s:.200}") from error

    return guarded
