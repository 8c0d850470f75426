"""`read_tokens`: the values at single tokens, at several sites in one pass."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from xalign.errors import ModelError
from xalign.model.architectures.map import map_model
from xalign.model.architectures.sites import Site
from xalign.model.batches import Batch
from xalign.model.observe import observing
from xalign.model.placement import device_of
from xalign.model.pool import check_tokens
from xalign.model.run import decoder_batch, decoder_test, leaves_early, run
from xalign.model.visit import visit

Tokens = list[Float[Tensor, "_ _"]]


def read_tokens(model: nn.Module, batches: Sequence[Batch], sites: Sequence[Site]) -> dict[Site, Tokens]:
    """Run batches through a model and return the values of every token that is pooled, per sentence.

    All tokens of all sites are held: sentences × tokens × widths of the sites × 4 bytes.

    Args:
        model: The model.
        batches: Batches as `make_batches` returns them.
        sites: The places, all of one stack.

    Returns:
        Site -> per sentence its values [token, unit], on the CPU in float32.

    Raises:
        ModelError: Values that are not finite, or a site that is missing or did not fire.
    """
    n = sum(len(rows) for batch in batches for rows in batch.rows)
    found: dict[Site, list[Any]] = {site: [None] * n for site in sites}
    decodes = decoder_test(model)(map_model(model).place(sites[0]).module)
    with observing(model) as before:
        for batch in batches:
            given = decoder_batch(model, batch) if decodes else batch
            seen: dict[Site, Tensor] = {}
            looking = {site: _keeper(seen, site) for site in sites}
            with visit(model, looking, early_exit=leaves_early(model, decodes=decodes)):
                run(model, given)
            before.rewind()
            for site, values in seen.items():
                check_tokens(values, given)
                _store(found[site], values, given, site, model)
    return found


def _keeper(seen: dict[Site, Tensor], site: Site) -> Any:
    def keep(values: Tensor) -> None:
        seen[site] = values.detach()

    return keep


def _store(found: list[Any], values: Tensor, batch: Batch, site: Site, model: nn.Module) -> None:
    """Keep the values of the pooled tokens of each sentence of a batch."""
    pooled = batch.pooled.to(device_of(model))
    for line, rows in enumerate(batch.rows):
        own = values[line][pooled[line]].float().cpu()
        if not bool(own.isfinite().all()):
            raise ModelError(
                f"the values at {site} hold NaN or infinity; measure in float32 or bfloat16 if they "
                "overflow in float16, or check the weights of that layer"
            )
        for row in rows:
            found[row] = own
