"""`read_states`: read pooled states of sentences, without gradient and without changing the model."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from xalign.autocast import without_autocast
from xalign.errors import ModelError
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.architectures.map import ModelMap, map_model
from xalign.model.architectures.sites import Reading, Site
from xalign.model.batches import Batch
from xalign.model.distributed import Ranks, is_sharded, reshard
from xalign.model.gathered import Gathered, Pooled
from xalign.model.observe import observing
from xalign.model.placement import device_of
from xalign.model.pool import check_tokens, pool, state_of, token_weights
from xalign.model.pool_experts import pool_experts
from xalign.model.routed import Routed
from xalign.model.run import decoder_batch, decoder_test, leaves_early, run
from xalign.model.snapshot import Snapshot
from xalign.model.visit import VisitFn, visit_mapped
from xalign.warn import warn

States = dict[Reading, Float[Tensor, "pair width"]]


@takes_layout
def read_states(
    model: nn.Module,
    batches: Sequence[Batch],
    readings: Iterable[Reading],
    *,
    on_batch: Callable[[], None] | None = None,
    ranks: Ranks | None = None,
    on_device: bool = False,
) -> States:
    """Run the model over the batches once, and pool every reading during the forwards.

    Nothing of size tokens × width outlives its batch. The model is left as it was: training modes, random
    number generators and cache settings are put back, and no gradient is computed.

    Args:
        model: The model. The forward goes through it, so that autocast and sharding apply.
        batches: Batches as `make_batches` returns them.
        readings: What to read; all readings of one site share one hook.
        on_batch: Called after each batch, for progress.
        ranks: The processes that share the batches; all of them must call. Only this one where None.
        on_device: Whether states that are computed on a CUDA device stay there, if its memory suffices.

    Returns:
        For each reading a float32 tensor [pair, width], on the CPU but for `on_device`. Row i belongs to
        sentence i. Every process gets the same.

    Raises:
        ModelError: A site that is missing or did not fire, states that are not finite (the error names the
            first such layer), or a single sentence that does not fit into memory. A batch that does not fit
            is run in halves.
    """
    model_map, ranks = map_model(model), ranks or Ranks()
    # Within a sharded forward the other processes wait for this one's weights and cannot receive an error:
    # it ends the process, and with it the run.
    sharded = is_sharded(model)
    try:
        with ranks.raise_alone() if sharded else ranks.raise_everywhere(), observing(model) as before:
            reader = Reader(model, model_map, before)
            found, broken = reader.gather(batches, readings, ranks, on_batch=on_batch, on_device=on_device)
    finally:
        if sharded:
            reshard(model)
    return _of_all(ranks, found, broken, model)


@contextmanager
def reader_of(model: nn.Module) -> Iterator[Callable[..., States]]:
    """Read a model several times, and put back only at the end what a forward may change.

    What other threads run waits until the end. Not for sharded models.

    Args:
        model: The model.

    Yields:
        A function of the arguments of `read_states` after the model.
    """
    model_map = map_model(model)
    with observing(model) as before:
        yield Reader(model, model_map, before).read


class Reader:
    """Reads states of a model that is being observed.

    Args:
        model: The model.
        model_map: Its map.
        before: What its modules were.
    """

    def __init__(self, model: nn.Module, model_map: ModelMap, before: Snapshot) -> None:
        self._model, self._map, self._before = model, model_map, before

    def read(
        self,
        batches: Sequence[Batch],
        readings: Iterable[Reading],
        *,
        on_batch: Callable[[], None] | None = None,
        ranks: Ranks | None = None,
        on_device: bool = False,
    ) -> States:
        """Read as `read_states` does."""
        ranks = ranks or Ranks()
        with ranks.raise_everywhere():
            found, broken = self.gather(batches, readings, ranks, on_batch=on_batch, on_device=on_device)
        return _of_all(ranks, found, broken, self._model)

    def gather(
        self,
        batches: Sequence[Batch],
        readings: Iterable[Reading],
        ranks: Ranks,
        *,
        on_batch: Callable[[], None] | None,
        on_device: bool,
    ) -> "tuple[States, NotFiniteError | None]":
        """Return the states of this process's share of the batches; with sharded weights, also an error.

        Whether a batch is finite is asked after the next one was begun. The program would otherwise wait for
        a GPU that has nothing to do meanwhile.
        """
        readings = list(dict.fromkeys(readings))
        n = sum(len(rows) for batch in batches for rows in batch.rows)
        widths = {reading: self._map.place(reading.site).width for reading in readings}
        gathered = Gathered(n, widths, on_device=on_device)
        broken: NotFiniteError | None = None
        unasked: list[_Finite] = []
        for batch, is_own in ranks.shard(batches):
            parts = _read_fitting(self._model, self._map, batch, readings)
            self._before.rewind()
            if is_own:
                for part, pooled, _ in parts:
                    gathered.add(part, pooled)
            if on_batch is not None:
                on_batch()
            broken = self._ask(unasked) or broken
            unasked = [flag for *_, flags in parts for flag in flags]
        return gathered.states(), self._ask(unasked) or broken

    def _ask(self, flags: "Sequence[_Finite]") -> "NotFiniteError | None":
        """Raise an error where states are not finite.

        With sharded weights, return it: the others need this process in what follows.
        """
        for one in flags:
            if not bool(one.flag):
                error = NotFiniteError(_first_not_finite(self._model, self._map, one))
                if not is_sharded(self._model):
                    raise error
                return error
        return None


def _of_all(ranks: Ranks, found: States, broken: "NotFiniteError | None", model: nn.Module) -> States:
    """Return the states that all processes have found."""
    with ranks.raise_everywhere():
        if broken is not None:
            raise broken
    device = device_of(model)
    return {reading: ranks.all_reduce(values, device) for reading, values in found.items()}


@dataclass(frozen=True, slots=True)
class _Finite:
    """Whether the states of a forward are finite: a flag on their device, and the forward."""

    flag: Bool[Tensor, ""]
    batch: Batch
    stack: str
    decodes: bool


class NotFiniteError(ModelError):
    """The states of a forward that ran to its end hold NaN or infinity."""


def _read_fitting(
    model: nn.Module, model_map: ModelMap, batch: Batch, readings: Sequence[Reading]
) -> list[tuple[Batch, Pooled, list[_Finite]]]:
    """Read a batch, in halves of it where it does not fit into memory."""
    lines, tokens = batch.shape
    try:
        return [(batch, *_read_batch(model, model_map, batch, readings))]
    except torch.OutOfMemoryError:
        if lines == 1 or is_sharded(model):
            raise ModelError(
                f"out of memory with {lines} sentence(s) of {tokens} tokens in one forward; "
                + (
                    "cut them with truncate=True"
                    if lines == 1
                    else f"lower token_budget below {lines * tokens}"
                )
            ) from None
    # Outside the except block, where the error would keep the tensors of the forward.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    warn(
        f"out of memory with {lines} sentences of {tokens} tokens in one forward: run in halves; "
        f"token_budget={lines * tokens // 2} would fit at once"
    )
    return [found for half in batch.halves() for found in _read_fitting(model, model_map, half, readings)]


def _read_batch(
    model: nn.Module, model_map: ModelMap, batch: Batch, readings: Sequence[Reading]
) -> tuple[Pooled, list[_Finite]]:
    """Read a batch: in one forward, or in one each where both encoder and decoder are read."""
    by_side: dict[bool, list[Reading]] = {False: [], True: []}
    is_of_decoder = decoder_test(model)
    for reading in readings:
        by_side[is_of_decoder(model_map.place(reading.site).module)].append(reading)
    pooled: Pooled = {}
    flags = []
    for decodes, wanted in by_side.items():
        if wanted:
            own = decoder_batch(model, batch) if decodes else batch
            of_side, flag = _read_side(model, model_map, own, wanted, decodes)
            pooled |= of_side
            flags.append(flag)
    return pooled, flags


def _read_side(
    model: nn.Module, model_map: ModelMap, batch: Batch, readings: Sequence[Reading], decodes: bool
) -> tuple[Pooled, _Finite]:
    stack = _stack_of(model_map, readings, decodes)
    last = readings[-1].site if model_map.refused("hidden", stack) else Site("hidden", "final", stack)
    look = _Look(model_map, batch, readings, last, device_of(model))
    fns: dict[Site, VisitFn] = {
        site: partial(look, site=site) for site in dict.fromkeys((*look.by_site, last))
    }
    with visit_mapped(model, model_map, fns, early_exit=leaves_early(model, decodes=decodes)):
        run(model, batch)
    return look.pooled, _Finite(look.finite[0], batch, stack, decodes)


class _Look:
    """Pool what a forward shows of each site, and note whether its last states are finite."""

    def __init__(
        self,
        model_map: ModelMap,
        batch: Batch,
        readings: Sequence[Reading],
        last: Site,
        device: torch.device,
    ) -> None:
        self.by_site: dict[Site, list[Reading]] = defaultdict(list)
        for reading in readings:
            self.by_site[reading.site].append(reading)
        self._model_map, self._batch, self._last = model_map, batch, last
        on_device = batch.pooled.to(device)
        self._weights = {how: token_weights(on_device, how) for how in {reading.pool for reading in readings}}
        self._real = batch.real.to(device)
        self.pooled: Pooled = {}
        self.finite: list[Tensor] = []

    def __call__(self, values: Float[Tensor, "batch token width"] | Routed, site: Site) -> None:
        found = values.values if isinstance(values, Routed) else values
        check_tokens(found[..., 0] if isinstance(values, Routed) else found, self._batch)
        for reading in self.by_site.get(site, ()):
            # Under autocast the forward computes in half precision, and pooling would too.
            self.pooled[reading] = without_autocast(found.device.type, self._pool, values, reading)
        if site == self._last:
            self.finite.append(_is_finite(found, self._real))

    def _pool(
        self, values: Float[Tensor, "batch token width"] | Routed, reading: Reading
    ) -> Float[Tensor, "batch width"]:
        found = values.values if isinstance(values, Routed) else values
        state = state_of(found, reading, self._model_map)
        of_tokens = self._weights[reading.pool].to(found.device)
        if isinstance(values, Routed):
            return pool_experts(state, values, of_tokens, reading.pool)
        return pool(state, of_tokens, reading.pool)


def _stack_of(model_map: ModelMap, readings: Sequence[Reading], decodes: bool) -> str:
    """Return the stack that is read. The site of a Linear does not name it."""
    named = (reading.site.stack for reading in readings if reading.site.stack)
    return next(named, model_map.stacks[-1] if decodes else "")


def _is_finite(
    values: Float[Tensor, "batch token width"], real: Bool[Tensor, "batch token"]
) -> Bool[Tensor, ""]:
    """Return whether all states of real tokens are finite; on their device, so that nobody waits for it."""
    # A sum is finite only if every term is, and it is faster than a check of each term.
    sums = values.sum(dim=-1, dtype=torch.float64)
    return sums.masked_fill(~real.to(values.device), 0.0).sum().isfinite()


def _first_not_finite(model: nn.Module, model_map: ModelMap, forward: _Finite) -> str:
    stack, decodes = forward.stack, forward.decodes
    if model_map.refused("hidden", stack):
        return "the states that were read hold NaN or infinity, so no score can be given"
    sites = model_map.sites("hidden", stack)
    if is_sharded(model):  # one forward more in this process alone would wait for the others
        return f"the states at {sites[-1]} hold NaN or infinity, so no score can be given"
    real = forward.batch.real
    broken: list[Site] = []

    def checker(site: Site) -> VisitFn:
        def check(values: Tensor) -> None:
            if not bool(_is_finite(values, real)):
                broken.append(site)

        return check

    fns = {site: checker(site) for site in sites}
    with visit_mapped(model, model_map, fns, early_exit=leaves_early(model, decodes=decodes)):
        run(model, forward.batch)
    return (
        f"the states at {min(broken, key=sites.index)} hold NaN or infinity, so no score can be given; check "
        "the weights of that layer, or measure in float32 or bfloat16 if they overflow in float16"
    )
