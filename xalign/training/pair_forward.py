"""The forward of the pairs: from token ids to pooled states with their gradient, as far as is needed."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from xalign.errors import ModelError
from xalign.model.architectures.sites import Kind, Pool, Site
from xalign.model.batches import Batch, Line, make_batches
from xalign.model.capture import capture
from xalign.model.distributed import is_sharded
from xalign.model.read import check_tokens, device_of, pool, run, token_weights
from xalign.model.wrapped import is_compiled, is_ddp, registers_hooks_in_forward, unwrapped

States = list[Float[Tensor, "line width"]]


@dataclass
class PairForward:
    """Runs both sides of the pairs in one forward, which ends after the last block needed.

    Attributes:
        kind: The kind of site that is read.
        state: What is taken of a token's values before pooling.
        pool: How tokens are pooled.
        pad_id: The id to pad with.
        size: The most lines run at a time; each such chunk is run again in backward, so that no more than one
            is in memory, and the gradient is that of all together.
        alternate: Whether a micro-batch may consist of pairs alone.
    """

    kind: Kind
    state: Callable[[Tensor], Tensor]
    pool: Pool
    pad_id: int
    size: int | None = None
    alternate: bool = False
    _has_said: bool = field(default=False, init=False)

    def __call__(
        self, model: nn.Module, lines: Sequence[Line], blocks: Sequence[int]
    ) -> tuple[States, Float[Tensor, ""]]:
        """The pooled states of the lines, one tensor per block, in the order of the lines.

        Beside them stands a zero that must enter the loss: it holds the rest of the forward, where that must
        take part in backward.

        Args:
            model: The model as it is wrapped now.
            lines: Token ids, and which of them are pooled.
            blocks: Where to read.

        Raises:
            ModelError: Chunks of a sharded model.
        """
        batches = make_batches(lines, pad_id=self.pad_id, size=self.size)
        if len(batches) > 1 and is_sharded(model):
            raise ModelError("chunk_size is not for sharded models; lower batch_size, or use gather=True")
        read = partial(self._read, model, blocks=blocks)
        parts = (
            [read(batches[0])]
            if len(batches) == 1
            else [checkpoint(read, batch, use_reentrant=False) for batch in batches]
        )
        order = torch.tensor([row for batch in batches for group in batch.rows for row in group]).argsort()
        states = [
            torch.cat(
                [
                    values[[line for line, rows in enumerate(batch.rows) for _ in rows]]
                    for values, batch in zip(of_block, batches, strict=True)
                ]
            )[order.to(of_block[0].device)]
            for of_block in zip(*(part[0] for part in parts), strict=True)
        ]
        return states, torch.stack([part[1] for part in parts]).sum()

    def _read(
        self, model: nn.Module, batch: Batch, blocks: Sequence[int]
    ) -> tuple[States, Float[Tensor, ""]]:
        sites = [Site(self.kind, block) for block in blocks]
        # DDP counts which parameters took part: beside a task's forward the pairs may go past it, alone not.
        whole = is_sharded(model) or (is_ddp(model) and self.alternate)
        whole = whole or registers_hooks_in_forward(model)
        called = model if whole else unwrapped(model)
        self._say_what_costs_more(model, whole)
        zero = torch.zeros((), device=device_of(model))
        with capture(called, sites, early_exit=not whole) as found:
            output = run(called, batch)
            # Reached by a whole forward only. A gradient that entered in the middle of a sharded block would
            # find its weights not gathered.
            zero = 0.0 * output[0].float().sum()
        weights = token_weights(batch.pooled, self.pool)
        states = []
        for values in (found[site] for site in sites):
            check_tokens(values, batch)
            with torch.autocast(values.device.type, enabled=False):
                states.append(pool(self.state(values), weights.to(values.device), self.pool))
        return states, zero

    def _say_what_costs_more(self, model: nn.Module, whole: bool) -> None:
        if self._has_said or not (whole or is_compiled(model)):
            return
        self._has_said = True
        warnings.warn(
            "the forward of the pairs runs whole, head included: blocks of a sharded model, DDP in "
            "mode='alternate', and aLoRA adapters must finish what they begin. It costs more, and gives the "
            "same gradient"
            if whole
            else "the forward of the pairs runs uncompiled, and ends after the last block needed",
            UserWarning,
            stacklevel=5,
        )
