"""The values of units at single tokens, for statistics that pooled sentences cannot give."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from xalign.errors import ArgumentError
from xalign.finding.activations import Sites, check_texts, sites_of
from xalign.finding.encoded_texts import encode_texts
from xalign.measurement.options import Experts
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.architectures.map import Place, map_model
from xalign.model.architectures.sites import Site
from xalign.model.inputs_for import Processing
from xalign.model.read_tokens import read_tokens
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
    encoded = encode_texts(
        model,
        tokenizer,
        texts,
        pool_special_tokens=pool_special_tokens,
        truncate=truncate,
        source_codes=source_codes,
        token_budget=token_budget,
    )
    for site in places:
        values = read_tokens(model, encoded.batches, [site])[site]
        counts = torch.tensor([len(one) for one in values])
        label, sentence = (one.repeat_interleave(counts) for one in (encoded.label, encoded.row))
        yield TokenValues(site, torch.cat(values), label, sentence)


def _check_not_routed(places: Mapping[Site, Place]) -> None:
    """Raise an error for sites of routed experts."""
    routed = [str(site) for site, place in places.items() if place.experts is not None]
    if routed:
        raise ArgumentError(
            f"sites {', '.join(routed[:3])} are of routed experts, where a token has values for few of them; "
            "give experts='shared', or a method that pools sentences, like expert_ap or lape"
        )
