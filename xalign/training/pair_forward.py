"""The forward pass of the pairs: from token ids to states with gradients, no further than needed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.utils.checkpoint import checkpoint

from xalign.autocast import without_autocast
from xalign.errors import ArgumentError, ArgumentTypeError, ModelError
from xalign.losses.loss import StateFn
from xalign.model.architectures.map import ModelMap, map_model
from xalign.model.architectures.sites import Kind, Pool, Site
from xalign.model.batch_cost import batch_cost
from xalign.model.batches import Batch, Line
from xalign.model.capture import capture_mapped
from xalign.model.distributed import is_sharded
from xalign.model.inputs import Inputs
from xalign.model.layer_drop import without_layer_drop
from xalign.model.observe import observing
from xalign.model.placement import device_of
from xalign.model.pool import check_tokens, pool, token_weights
from xalign.model.run import run
from xalign.model.wrapped import (
    adapter_disabled,
    is_compiled,
    is_ddp,
    registers_hooks_in_forward,
    sentence_transformer_in,
    unwrapped,
)
from xalign.training.guards.start import Start
from xalign.training.pair_batch import PairBatch
from xalign.warn import warn

States = list[Float[Tensor, "line *token width"]]


@dataclass(frozen=True, slots=True)
class PairStates:
    """What a forward pass of the pairs gives, in the order of its lines.

    Attributes:
        by_block: Per block, pooled states [line, width]; or states of all tokens [line, token, width], padded
            to the longest line, and zero at tokens that do not count.
        mask: True at tokens that count, [line, token]; None for pooled states.
        rest: A zero that must be added to the loss. It holds the rest of the forward pass, if that must take
            part in the backward pass.
    """

    by_block: States
    mask: Bool[Tensor, "line token"] | None
    rest: Float[Tensor, ""]


@dataclass
class PairForward:
    """Runs both sides of the pairs, to the end of the last block needed.

    On a CPU, sentences of different lengths run in separate forward passes if that costs less than padding
    all of them to the longest. Otherwise they run in one.

    Attributes:
        inputs: What the model takes.
        kind: The kind of site that is read.
        state: What is taken of a token's values before pooling.
        pool: How tokens are pooled; None gives the states of all tokens.
        size: The most lines run at a time. Each such chunk is run again in backward, so that only one is in
            memory, and the gradient is that of all together.
        alternate: Whether a micro-batch may consist of pairs alone.
        frozen_pivot: Whether pivot sentences run with the adapters off, in a separate forward pass.
        per_batch: What a forward and backward pass costs on a CPU on top of its tokens, in tokens; if None,
            `batch_cost` estimates it (benchmarks/alignment_step.py).
    """

    inputs: Inputs
    kind: Kind
    state: StateFn
    pool: Pool | None
    size: int | None = None
    alternate: bool = False
    frozen_pivot: bool = False
    per_batch: int | None = None
    _has_said: bool = field(default=False, init=False)

    def of_pairs(self, model: nn.Module, pairs: PairBatch, blocks: Sequence[int]) -> PairStates:
        """Run both sides of pairs, and return the states of the sentences and then of the pivot sentences."""
        if not self.frozen_pivot:
            return self(model, [*pairs.language_lines, *pairs.pivot_lines], blocks)
        with observing(model), adapter_disabled(unwrapped(model)):
            pivot = self(model, pairs.pivot_lines, blocks)
        return _joined(self(model, pairs.language_lines, blocks), pivot)

    def of_start(self, start: Start, model: nn.Module, pairs: PairBatch, blocks: Sequence[int]) -> PairStates:
        """Run the pivot sentences of pairs in the model as it was before training, without gradient."""
        with start.running(model) as before:
            return self(before, pairs.pivot_lines, blocks)

    def __call__(self, model: nn.Module, lines: Sequence[Line], blocks: Sequence[int]) -> PairStates:
        """Run the lines, and return their states at every block.

        Args:
            model: The model as it is wrapped now.
            lines: Token ids, and which of them are pooled.
            blocks: Where to read.

        Raises:
            ModelError: Chunks of a sharded model.
        """
        whole = self._runs_whole(model)
        self._warn_about_cost(model, whole)
        per_batch = None
        if not whole:
            per_batch = batch_cost(unwrapped(model)) if self.per_batch is None else self.per_batch
        batches = self.inputs.batches(lines, size=self.size, per_batch=per_batch)
        if len(batches) > 1 and is_sharded(model):
            raise ModelError("chunk_size is not for sharded models; lower batch_size, or use gather=True")
        called = model if whole else unwrapped(model)
        read = partial(self._read, called, map_model(called), blocks=blocks, whole=whole)
        if self.size is not None and len(set(lines)) > self.size:
            parts = [checkpoint(read, batch, use_reentrant=False) for batch in batches]
        else:
            parts = [read(batch) for batch in batches]
        return PairStates(
            [_in_order(of_block, batches) for of_block in zip(*(states for states, _ in parts), strict=True)],
            None if self.pool else _in_order([batch.pooled for batch in batches], batches),
            torch.stack([rest for _, rest in parts]).sum(),
        )

    def _runs_whole(self, model: nn.Module) -> bool:
        # DDP counts which parameters took part: pairs beside a task's forward may bypass it, pairs alone not.
        whole = is_sharded(model) or (is_ddp(model) and self.alternate)
        whole = whole or registers_hooks_in_forward(model)
        if whole and sentence_transformer_in(model) is not None:
            raise ModelError(
                "a SentenceTransformer whose forward must run whole cannot be aligned: that is under FSDP2, "
                "with aLoRA adapters, and under DDP with mode='alternate', where mode='joint' works"
            )
        return whole

    def _read(
        self, model: nn.Module, model_map: ModelMap, batch: Batch, blocks: Sequence[int], whole: bool
    ) -> tuple[States, Float[Tensor, ""]]:
        sites = [Site(self.kind, block) for block in blocks]
        rest = torch.zeros((), device=device_of(model))
        captured = capture_mapped(model, model_map, sites, early_exit=not whole)
        with without_layer_drop(model), captured as found:
            output = run(model, batch)
            # Reached by a whole forward only. A gradient that entered in the middle of a sharded block would
            # find its weights not gathered.
            rest = 0.0 * output[0].float().sum()
        return [self._state(found[site], batch) for site in sites], rest

    def _state(
        self, values: Float[Tensor, "line token width"], batch: Batch
    ) -> Float[Tensor, "line *token width"]:
        check_tokens(values, batch)
        return without_autocast(values.device.type, self._pooled, values, batch)

    def _pooled(
        self, values: Float[Tensor, "line token width"], batch: Batch
    ) -> Float[Tensor, "line *token width"]:
        state = self.state(values)
        _check_state(state, values)
        if self.pool is None:
            mask = batch.pooled.to(values.device)
            return state.masked_fill(~mask.unsqueeze(-1), 0.0)
        weights = token_weights(batch.pooled, self.pool).to(values.device)
        return pool(state, weights, self.pool)

    def _warn_about_cost(self, model: nn.Module, whole: bool) -> None:
        if self._has_said or not (whole or is_compiled(model)):
            return
        self._has_said = True
        warn(
            "the forward of the pairs runs whole, head included: blocks of a sharded model, DDP in "
            "mode='alternate', and aLoRA adapters must finish what they begin. It costs more, and gives the "
            "same gradient"
            if whole
            else "the forward of the pairs runs uncompiled, and ends after the last block needed"
        )


def _check_state(state: object, values: Tensor) -> None:
    """Raise an error where what a loss takes of values is not a vector per token, with a gradient."""
    needed = "a loss's state= must return a vector per token, with the shape of what it is given"
    if not isinstance(state, Tensor):
        raise ArgumentTypeError(f"{needed}, and returned {state!r:.60}")
    if state.dim() != 3 or state.shape[:2] != values.shape[:2]:
        raise ArgumentError(
            f"{needed}; it was given {tuple(values.shape)}, [line, token, width], and returned "
            f"{tuple(state.shape)}"
        )
    if values.requires_grad and not state.requires_grad:
        raise ArgumentError(
            f"a loss's state= returned values of {state.dtype} without a gradient: it detaches what it is "
            "given, or rounds it, as a comparison does; the loss could move nothing"
        )


def _joined(first: PairStates, second: PairStates) -> PairStates:
    """Join the lines of two forwards, padded to the longest of both."""
    masks = [one.mask for one in (first, second) if one.mask is not None]
    longest = max((one.shape[1] for one in masks), default=0)

    def joined(parts: Sequence[Tensor]) -> Tensor:
        return torch.cat([_padded(one, longest) for one in parts])

    by_block = [joined(values) for values in zip(first.by_block, second.by_block, strict=True)]
    return PairStates(by_block, joined(masks) if masks else None, first.rest)


def _in_order(parts: Sequence[Tensor], batches: Sequence[Batch]) -> Tensor:
    """Join what the batches gave in the order of the sentences, padded to the longest of them."""
    longest = max(batch.shape[1] for batch in batches)
    joined = []
    for values, batch in zip(parts, batches, strict=True):
        of_lines = [line for line, rows in enumerate(batch.rows) for _ in rows]
        joined.append(_padded(values, longest)[of_lines])
    order = torch.tensor([row for batch in batches for group in batch.rows for row in group]).argsort()
    return torch.cat(joined)[order.to(joined[0].device)]


def _padded(values: Tensor, tokens: int) -> Tensor:
    """Pad the tokens of unpooled values or of a mask; pooled values have none, and stay as they are."""
    is_mask = values.dtype == torch.bool
    if values.dim() == 2 and not is_mask:
        return values
    more = tokens - values.shape[1]
    return values if not more else pad(values, (0, more) if is_mask else (0, 0, 0, more))
