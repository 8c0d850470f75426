"""`label_sums`: what units do at the tokens of each language, summed while the texts run."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import one_hot

from xalign.checks import whole_number
from xalign.errors import ModelError
from xalign.finding.activations import SITE_BYTES, Sites, check_texts, sites_of
from xalign.finding.encoded_texts import EncodedTexts, encode_texts
from xalign.measurement.options import Experts
from xalign.model.architectures.map import map_model
from xalign.model.architectures.sites import Reading, Site
from xalign.model.batches import Batch
from xalign.model.inputs_for import Processing
from xalign.model.read import States, read_states
from xalign.pairs.audio import Audio

_ROUGH = 0.25  # tokens by which a mean times its tokens may miss a whole number
_FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True)
class LabelSums:
    """What the units of a site do at the tokens of each label.

    Attributes:
        site: The place.
        fires: At how many tokens of each label a unit is above 0, counted exactly.
        totals: The sum of a unit's values over the tokens of each label; zeros where it was not asked for.
        tokens: How many tokens each label has.
    """

    site: Site
    fires: Float[Tensor, "label unit"]
    totals: Float[Tensor, "label unit"]
    tokens: Int[Tensor, " label"]

    @property
    def rates(self) -> Float[Tensor, "label unit"]:
        """The share of each label's tokens at which a unit fires."""
        return self.fires / self.tokens.unsqueeze(1)

    @property
    def means(self) -> Float[Tensor, "label unit"]:
        """The mean of a unit's values over the tokens of each label."""
        return self.totals / self.tokens.unsqueeze(1)


def label_sums(
    model: nn.Module,
    tokenizer: Processing,
    texts: Mapping[str, Sequence[str | Audio]],
    sites: Sites = "gate",
    *,
    with_totals: bool = True,
    site_bytes: int = SITE_BYTES,
    experts: Experts = "routed",
    **options: Any,
) -> list[LabelSums]:
    """Run texts through a model once, and sum what the units do at the tokens of each label.

    Memory does not grow with the texts: what is read from a few batches is added up and then dropped.

    Args:
        model: The model.
        tokenizer: Its tokenizer; for recordings, its feature extractor or processor.
        texts: Label -> sentences, written or spoken.
        sites: As in `activations`.
        with_totals: Whether values are summed too, beside the count of those above 0.
        site_bytes: The most memory of what is read at a time. One sentence is always read.
        experts: As in `activations`.
        **options: `pool_special_tokens`, `truncate`, `source_codes` and `token_budget` of `encode_texts`.

    Returns:
        The sums of each site.

    Raises:
        ArgumentError: As in `activations`.
        ModelError: Means so rough that the tokens cannot be counted.

    Example:
        >>> texts = {"eng_Latn": ["It rains.", "Good night."], "deu_Latn": ["Es regnet."]}
        >>> found = label_sums(model, tokenizer, texts, "0.gate")
        >>> found[0].rates.shape
        torch.Size([2, 64])
    """
    check_texts(texts)
    model_map = map_model(model)
    widths = {site: model_map.place(site).width for site in sites_of(model, model_map, sites, experts)}
    most = whole_number("site_bytes", site_bytes, least=1)
    encoded = encode_texts(model, tokenizer, texts, **options)
    return _summed(model, encoded, widths, len(texts), with_totals=with_totals, most_bytes=most)


def _summed(
    model: nn.Module,
    encoded: EncodedTexts,
    widths: Mapping[Site, int],
    labels: int,
    *,
    with_totals: bool,
    most_bytes: int,
) -> list[LabelSums]:
    fires, totals = (
        {site: torch.zeros(labels, width, dtype=torch.double) for site, width in widths.items()}
        for _ in range(2)
    )
    of_text = _FLOAT_BYTES * (1 + with_totals) * sum(widths.values())
    for batches, texts in _parts(encoded, max(1, most_bytes // of_text)):
        own = one_hot(encoded.label[texts], labels).double().T
        tokens = encoded.tokens[texts]
        states = _read(model, batches, widths, with_totals)
        for site in widths:
            fires[site] += own @ counted(states.pop(Reading(site, "active", "mean")), tokens, site)
            if with_totals:
                totals[site] += (own * tokens) @ states.pop(Reading(site, "value", "mean")).double()
    of_label = torch.zeros(labels, dtype=torch.long).index_add(0, encoded.label, encoded.tokens)
    return [LabelSums(site, fires[site], totals[site], of_label) for site in widths]


def counted(
    means: Float[Tensor, "sentence unit"], tokens: Int[Tensor, " sentence"], site: Site
) -> Float[Tensor, "sentence unit"]:
    """Return at how many tokens of each sentence a unit fires, a whole number, from the mean over its tokens.

    What is read of a sentence is a mean in float32. Summed as it is, it would give neurons that fire equally
    often slightly different shares, and LAPE's bar would then cut between them.

    Raises:
        ModelError: Means so rough that the count cannot be told.

    Example:
        >>> counted(torch.tensor([[0.5, 1.0], [0.0, 0.25]]), torch.tensor([2, 4]), Site("gate", 0)).tolist()
        [[1.0, 2.0], [0.0, 1.0]]
    """
    exact = means.double() * tokens.unsqueeze(1)
    counts: Tensor = exact.round()
    if bool((exact - counts).abs().max() > _ROUGH):
        raise ModelError(
            f"how often the units of {site} fire cannot be counted: the means over tokens are not exact "
            "enough. Switch TF32 off (torch.backends.cuda.matmul.allow_tf32 = False), or give shorter texts"
        )
    return counts


def _read(model: nn.Module, batches: Sequence[Batch], sites: Mapping[Site, Any], with_totals: bool) -> States:
    """Read of each sentence the share of tokens at which units fire, and their mean value."""
    taken: tuple[Any, ...] = ("active", "value") if with_totals else ("active",)
    return read_states(model, batches, [Reading(site, state, "mean") for site in sites for state in taken])


def _parts(encoded: EncodedTexts, most: int) -> Iterator[tuple[list[Batch], list[int]]]:
    """Yield batches of about `most` texts together, their rows renumbered, and which texts those are."""
    part: list[Batch] = []
    texts: list[int] = []
    for batch, first in ((one, at) for one in encoded.batches for at in range(0, len(one.rows), most)):
        lines = slice(first, first + most)
        size = sum(map(len, batch.rows[lines]))
        if part and len(texts) + size > most:
            yield part, texts
            part, texts = [], []
        numbers = iter(range(len(texts), len(texts) + size))
        texts.extend(row for rows in batch.rows[lines] for row in rows)
        part.append(batch.take(lines, [tuple(next(numbers) for _ in rows) for rows in batch.rows[lines]]))
    yield part, texts
