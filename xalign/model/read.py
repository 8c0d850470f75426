"""`read_states`: read pooled states of sentences, without gradient and without changing the model."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from xalign.errors import ModelError
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.architectures.map import ModelMap, map_model
from xalign.model.architectures.sites import Pool, Reading, Site
from xalign.model.batches import Batch
from xalign.model.distributed import Ranks, is_sharded, reshard
from xalign.model.observe import observing
from xalign.model.on_cpu import on_cpu
from xalign.model.placement import device_of
from xalign.model.pool_experts import pool_experts
from xalign.model.routed import Routed
from xalign.model.run import decoder_batch, decoder_test, leaves_early, run
from xalign.model.torch_state import without_autocast
from xalign.model.visit import VisitFn, visit
from xalign.warn import warn

States = dict[Reading, Float[Tensor, "pair width"]]
Pooled = dict[Reading, Float[Tensor, "_ _"]]  # widths differ between sites, and sizes between batches


@takes_layout
def read_states(
    model: nn.Module,
    batches: Sequence[Batch],
    readings: Iterable[Reading],
    *,
    on_batch: Callable[[], None] | None = None,
    ranks: Ranks | None = None,
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

    Returns:
        For each reading a float32 tensor [pair, width] on the CPU. Row i belongs to sentence i. Every process
        gets the same.

    Raises:
        ModelError: A site that is missing or did not fire, states that are not finite (the error names the
            first such layer), or a single sentence that does not fit into memory. A batch that does not fit
            is run in halves.
    """
    readings = list(dict.fromkeys(readings))
    model_map = map_model(model)
    n = sum(len(rows) for batch in batches for rows in batch.rows)
    widths = {reading: model_map.place(reading.site).width for reading in readings}
    states: States = {
        reading: torch.zeros(n, width, dtype=torch.float32, device="cpu") for reading, width in widths.items()
    }
    ranks = ranks or Ranks()
    # Within a sharded forward the other processes wait for this one's weights and cannot receive an error:
    # it ends the process, and with it the run.
    sharded = is_sharded(model)
    broken: NotFiniteError | None = None
    try:
        with ranks.raise_alone() if sharded else ranks.raise_everywhere(), observing(model) as before:
            for batch, is_own in ranks.shard(batches):
                parts = _parts_or_error(model, model_map, batch, readings)
                before.rewind()
                if isinstance(parts, NotFiniteError):
                    broken = parts
                elif is_own:
                    _store(states, parts)
                if on_batch is not None:
                    on_batch()
    finally:
        if sharded:
            reshard(model)
    with ranks.raise_everywhere():
        if broken is not None:
            raise broken
    device = device_of(model)
    return {reading: ranks.all_reduce(values, device) for reading, values in states.items()}


class NotFiniteError(ModelError):
    """The states of a forward that ran to its end hold NaN or infinity."""


def _parts_or_error(
    model: nn.Module, model_map: ModelMap, batch: Batch, readings: Sequence[Reading]
) -> "list[tuple[Batch, Pooled]] | NotFiniteError":
    """Read a batch. With sharded weights, return an error: the others need this process in what follows."""
    try:
        return _read_fitting(model, model_map, batch, readings)
    except NotFiniteError as error:
        if not is_sharded(model):
            raise
        return error


def _store(states: States, parts: Sequence[tuple[Batch, Pooled]]) -> None:
    """Copy pooled states into the rows of the sentences that each line stands for."""
    for part, pooled in parts:
        rows = torch.tensor([row for group in part.rows for row in group], device="cpu")
        lines = [line for line, rows in enumerate(part.rows) for _ in rows]
        repeats = len(lines) > len(part.rows)
        for reading, values in on_cpu(pooled).items():
            states[reading].index_copy_(0, rows, values[lines] if repeats else values)


def _read_fitting(
    model: nn.Module, model_map: ModelMap, batch: Batch, readings: Sequence[Reading]
) -> list[tuple[Batch, Pooled]]:
    """Read a batch, in halves of it where it does not fit into memory."""
    lines, tokens = batch.shape
    try:
        return [(batch, _read_batch(model, model_map, batch, readings))]
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


def _read_batch(model: nn.Module, model_map: ModelMap, batch: Batch, readings: Sequence[Reading]) -> Pooled:
    """Read a batch: in one forward, or in one each where both encoder and decoder are read."""
    by_side: dict[bool, list[Reading]] = {False: [], True: []}
    is_of_decoder = decoder_test(model)
    for reading in readings:
        by_side[is_of_decoder(model_map.place(reading.site).module)].append(reading)
    pooled: Pooled = {}
    for decodes, wanted in by_side.items():
        if wanted:
            own = decoder_batch(model, batch) if decodes else batch
            pooled |= _read_side(model, model_map, own, wanted, decodes)
    return pooled


def _read_side(
    model: nn.Module, model_map: ModelMap, batch: Batch, readings: Sequence[Reading], decodes: bool
) -> Pooled:
    by_site: dict[Site, list[Reading]] = defaultdict(list)
    for reading in readings:
        by_site[reading.site].append(reading)
    on_device = batch.pooled.to(device_of(model))
    weights = {how: token_weights(on_device, how) for how in {reading.pool for reading in readings}}
    real = batch.real.to(on_device.device)
    stack = _stack_of(model_map, readings, decodes)
    last = readings[-1].site if model_map.refused("hidden", stack) else Site("hidden", "final", stack)
    pooled: Pooled = {}
    finite: list[Tensor] = []

    def reader(site: Site) -> VisitFn:
        def look(values: Float[Tensor, "batch token width"] | Routed) -> None:
            found = values.values if isinstance(values, Routed) else values
            check_tokens(found[..., 0] if isinstance(values, Routed) else found, batch)
            for reading in by_site[site]:
                # Under autocast the forward computes in half precision, and pooling would too.
                pooled[reading] = without_autocast(found.device.type, pool_one, values, reading)
            if site == last:
                finite.append(_is_finite(found, real))

        return look

    def pool_one(
        values: Float[Tensor, "batch token width"] | Routed, reading: Reading
    ) -> Float[Tensor, "batch width"]:
        found = values.values if isinstance(values, Routed) else values
        state, of_tokens = state_of(found, reading, model_map), weights[reading.pool].to(found.device)
        if isinstance(values, Routed):
            return pool_experts(state, values, of_tokens, reading.pool)
        return pool(state, of_tokens, reading.pool)

    fns = {site: reader(site) for site in dict.fromkeys((*by_site, last))}
    with visit(model, fns, early_exit=leaves_early(model, decodes=decodes)):
        run(model, batch)
    if not bool(finite[0]):
        raise NotFiniteError(_first_not_finite(model, model_map, batch, stack, decodes))
    return pooled


def _stack_of(model_map: ModelMap, readings: Sequence[Reading], decodes: bool) -> str:
    """Return the stack that is read. The site of a Linear does not name it."""
    named = (reading.site.stack for reading in readings if reading.site.stack)
    return next(named, model_map.stacks[-1] if decodes else "")


def check_tokens(values: Float[Tensor, "batch token width"], batch: Batch) -> None:
    """Raise an error where a model returns states of more or fewer tokens than it was given."""
    if values.shape[:2] != batch.pooled.shape:
        raise ModelError(
            f"the states have {values.shape[1]} tokens where {batch.pooled.shape[1]} were given: the model "
            "adds or drops tokens, and which of the states are the sentence's is not known; pass the "
            "transformers model inside it"
        )


def state_of(
    values: Float[Tensor, "batch token *_"], reading: Reading, model_map: ModelMap
) -> Float[Tensor, "batch token *_"]:
    """Compute the state that a reading takes of a site's values, per token; of experts, per slot."""
    site = reading.site
    if site.kind == "router" and reading.state == "active":
        return torch.ones_like(values, dtype=torch.float32)  # chosen, with whatever weight
    is_gate = site.kind in ("gate", "expert_gate")
    if is_gate and isinstance(site.layer, int) and reading.state in ("active", "act"):
        activation = model_map.activation(site.layer, site.stack, site.part, site.kind)
        if reading.state == "act" or not activation.keeps_sign:
            values = activation(values)
    if reading.state == "abs":
        return values.abs()
    if reading.state == "active":
        # One pass where (values > 0).float() takes two, the second of them slow.
        return torch.gt(values, 0, out=torch.empty_like(values, dtype=torch.float32))
    return values


def pool(
    states: Float[Tensor, "batch token width"], weights: Float[Tensor, "batch token"], how: Pool
) -> Float[Tensor, "batch width"]:
    """Pool states over the tokens of each sentence in float32, with `token_weights` of the same pool."""
    states = states.float()
    if how == "max":
        return states.masked_fill(weights.unsqueeze(-1) == 0, -torch.inf).amax(dim=1)
    if how in ("last", "first"):
        return states[torch.arange(len(states), device=states.device), weights.argmax(dim=1)]
    return torch.bmm(weights.unsqueeze(1), states).squeeze(1)


def token_weights(pooled: Bool[Tensor, "batch token"], how: Pool) -> Float[Tensor, "batch token"]:
    """Compute the weight of each token: 0 where it is not pooled; the weights of a sentence sum to 1.

    `weighted` gives t / (1 + … + T) to the t-th of T pooled tokens (MEXA, §3.1), `last` and `first` give 1 to
    one token, `mean` and `max` give all tokens the same weight.
    """
    positions = pooled.cumsum(dim=1) * pooled
    if how == "last":
        raw = (positions == positions.amax(dim=1, keepdim=True)) & pooled
    elif how == "first":
        raw = positions == 1
    else:
        raw = positions if how == "weighted" else pooled
    return raw.float() / raw.sum(dim=1, keepdim=True)


def _is_finite(
    values: Float[Tensor, "batch token width"], real: Bool[Tensor, "batch token"]
) -> Bool[Tensor, ""]:
    """Return whether all states of real tokens are finite; on their device, so that nobody waits for it."""
    # A sum is finite only if every term is, and it is faster than a check of each term.
    sums = values.sum(dim=-1, dtype=torch.float64)
    return sums.masked_fill(~real.to(values.device), 0.0).sum().isfinite()


def _first_not_finite(model: nn.Module, model_map: ModelMap, batch: Batch, stack: str, decodes: bool) -> str:
    if model_map.refused("hidden", stack):
        return "the states that were read hold NaN or infinity, so no score can be given"
    sites = model_map.sites("hidden", stack)
    if is_sharded(model):  # one forward more in this process alone would wait for the others
        return f"the states at {sites[-1]} hold NaN or infinity, so no score can be given"
    real = batch.real
    broken: list[Site] = []

    def checker(site: Site) -> VisitFn:
        def check(values: Tensor) -> None:
            if not bool(_is_finite(values, real)):
                broken.append(site)

        return check

    fns = {site: checker(site) for site in sites}
    with visit(model, fns, early_exit=leaves_early(model, decodes=decodes)):
        run(model, batch)
    return (
        f"the states at {min(broken, key=sites.index)} hold NaN or infinity, so no score can be given; check "
        "the weights of that layer, or measure in float32 or bfloat16 if they overflow in float16"
    )
