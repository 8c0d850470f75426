"""The values of units at single tokens, for statistics that pooled sentences cannot give."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from xalign.errors import ArgumentError, ModelError
from xalign.finding.activations import Sites, check_texts, sites_of
from xalign.measurement.options import Experts
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.architectures.map import Place, map_model
from xalign.model.architectures.sites import Site
from xalign.model.batches import Batch
from xalign.model.inputs import TextOptions
from xalign.model.inputs_for import Processing, inputs_for
from xalign.model.observe import observing
from xalign.model.placement import device_of
from xalign.model.read import check_tokens
from xalign.model.run import decoder_batch, decoder_test, leaves_early, run
from xalign.model.visit import visit
from xalign.pairs.audio import Audio


@dataclass(frozen=True, slots=True)
class TokenValues:
    """Values of one site's units at every token that is pooled.

    Attributes:
        site: The place.
        values: Per token and unit, in the order of the sentences.
        label: Per token, the number of its label.
        sentence: Per token, the number of its sentence within its label.
    """

    site: Site
    values: Float[Tensor, "token unit"]
    label: Int[Tensor, " token"]
    sentence: Int[Tensor, " token"]

    def of(self, label: int) -> Bool[Tensor, " token"]:
        """Return a mask of the tokens of a label."""
        return self.label == label


@takes_layout
def token_values(
    model: nn.Module,
    tokenizer: Processing,
    texts: Mapping[str, Sequence[str | Audio]],
    sites: Sites = "gate",
    *,
    pool_special_tokens: bool = True,
    truncate: bool = False,
    source_codes: Mapping[str, str] | None = None,
    token_budget: int = 8192,
    experts: Experts = "shared",
) -> Iterator[TokenValues]:
    """Run texts through a model and give the values of the units at every token, one site at a time.

    The texts are run once for each site: all tokens of a site are held, and those of no other.

    Args:
        model: The model.
        tokenizer: Its tokenizer; for recordings, its feature extractor or processor.
        texts: Label -> sentences, written or spoken.
        sites: As in `activations`, but for the experts of a mixture.
        pool_special_tokens: Take the special tokens that the tokenizer adds, too.
        truncate: As in `activations`.
        source_codes: As in `activations`.
        token_budget: As in `activations`.
        experts: As in `activations`. `"routed"` is refused where there are experts: a token has no values for
            those that it was not routed to.

    Yields:
        The values of one site.

    Raises:
        ArgumentError: As in `activations`, or sites of routed experts.
        ModelError: Values that are not finite.

    Example:
        >>> texts = {"eng_Latn": ["It rains."], "deu_Latn": ["Es regnet."]}
        >>> [found.values.shape[1] for found in token_values(model, tokenizer, texts, "0.gate")]
        [64]
    """
    check_texts(texts)
    model_map = map_model(model)
    places = {site: model_map.place(site) for site in sites_of(model, model_map, sites, experts)}
    _check_not_routed(places)
    is_audio = any(isinstance(one, Audio) for sentences in texts.values() for one in sentences)
    inputs = inputs_for(model, tokenizer, is_audio)
    options = TextOptions(
        pool_special_tokens=pool_special_tokens, truncate=truncate, source_codes=source_codes
    )
    encoded = [inputs.encode(sentences, label, options) for label, sentences in texts.items()]
    batches = inputs.batches([line for one in encoded for line in one.lines], token_budget=token_budget)
    rows = [(label, row) for label, one in enumerate(encoded) for row in range(len(one))]
    for site in places:
        values = _values_of(model, batches, site, len(rows))
        counts = torch.tensor([len(one) for one in values])
        label, sentence = (
            torch.tensor(column).repeat_interleave(counts) for column in zip(*rows, strict=True)
        )
        yield TokenValues(site, torch.cat(values), label, sentence)


def _check_not_routed(places: Mapping[Site, Place]) -> None:
    """Raise an error for sites of routed experts."""
    routed = [str(site) for site, place in places.items() if place.experts is not None]
    if routed:
        raise ArgumentError(
            f"sites {', '.join(routed[:3])} are of routed experts, where a token has values for few of them; "
            "give experts='shared', or a method that pools sentences, like expert_ap or lape"
        )


def _values_of(model: nn.Module, batches: Sequence[Batch], site: Site, n: int) -> list[Float[Tensor, "_ _"]]:
    """Return the values of a site at the pooled tokens of each sentence, on the CPU in float32."""
    found: list[Any] = [None] * n
    decodes = decoder_test(model)(map_model(model).place(site).module)
    with observing(model) as before:
        for batch in batches:
            given = decoder_batch(model, batch) if decodes else batch
            seen: list[Tensor] = []
            with visit(model, {site: seen.append}, early_exit=leaves_early(model, decodes=decodes)):
                run(model, given)
            before.rewind()
            check_tokens(seen[0], given)
            pooled = given.pooled.to(device_of(model))
            for line, rows in enumerate(given.rows):
                own = seen[0][line][pooled[line]].float().cpu()
                if not bool(own.isfinite().all()):
                    raise ModelError(
                        f"the values at {site} hold NaN or infinity; measure in float32 or bfloat16 if they "
                        "overflow in float16, or check the weights of that layer"
                    )
                for row in rows:
                    found[row] = own
    return found
