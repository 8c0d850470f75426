"""Activations of units on texts of several languages: pooled per sentence, a few sites at a time."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import get_args

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from xalign.checks import known_options, whole_number
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.finding.encoded_texts import encode_texts
from xalign.measurement.options import Experts, NeuronSite
from xalign.measurement.readings import neuron_sites
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.architectures.map import ModelMap, map_model
from xalign.model.architectures.sites import KINDS, Kind, Pool, Reading, Site, State
from xalign.model.inputs_for import Processing
from xalign.model.read import read_states
from xalign.pairs.audio import Audio

SITE_BYTES = 2**30
_FLOAT_BYTES = 4
_NEURONS: tuple[NeuronSite, ...] = get_args(NeuronSite)

Sites = str | Site | Sequence[Site | str]


@dataclass(frozen=True, slots=True)
class Activations:
    """Activations of one site's units.

    Attributes:
        site: The place.
        values: Per sentence and unit, the pooled activation.
        label: Per sentence, the number of its label.
        tokens: Per sentence, how many tokens were pooled.
    """

    site: Site
    values: Float[Tensor, "sentence unit"]
    label: Int[Tensor, " sentence"]
    tokens: Int[Tensor, " sentence"]

    def of(self, label: int) -> Bool[Tensor, " sentence"]:
        """Return a mask of the sentences of a label."""
        return self.label == label


@takes_layout
def activations(
    model: nn.Module,
    tokenizer: Processing,
    texts: Mapping[str, Sequence[str | Audio]],
    sites: Sites = "inner",
    *,
    pool: Pool = "mean",
    state: State = "value",
    pool_special_tokens: bool = True,
    truncate: bool = False,
    source_codes: Mapping[str, str] | None = None,
    token_budget: int = 8192,
    site_bytes: int = SITE_BYTES,
    experts: Experts = "routed",
) -> Iterator[Activations]:
    """Run texts through a model and give the activations of the units, site by site.

    As many sites are held at a time as fit into `site_bytes`. For the next ones the texts are run again.

    Args:
        model: The model.
        tokenizer: Its tokenizer; for recordings, its feature extractor or processor.
        texts: Label -> sentences, written or spoken. Two labels may share a sentence.
        sites: A kind (`"inner"`: that site in every block), a site, or a list of these. In a block that is a
            mixture of experts, `"inner"` and `"gate"` are those of its experts: see `experts`.
        pool: How states are pooled over a sentence's tokens.
        state: What is computed from a token's values.
        pool_special_tokens: Pool the special tokens that the tokenizer adds, too.
        truncate: Cut sentences that are longer than the context; otherwise they are refused.
        source_codes: Label -> the code of a tokenizer that marks languages, for labels that are no codes.
        token_budget: The most tokens in one forward pass, padding included.
        site_bytes: The most memory for the activations held at a time. At least one site is always held.
        experts: What `"inner"` and `"gate"` are in a mixture of experts: the `"routed"` experts, or the
            `"shared"` networks that every token runs through.

    Yields:
        The activations of one site.

    Raises:
        ArgumentError: A label without sentences, sites that do not exist, or sentences longer than the
            context.
    """
    check_texts(texts)
    model_map = map_model(model)
    waiting = sites_of(model, model_map, sites, experts)
    site_bytes = whole_number("site_bytes", site_bytes, least=1)
    encoded = encode_texts(
        model,
        tokenizer,
        texts,
        pool_special_tokens=pool_special_tokens,
        truncate=truncate,
        source_codes=source_codes,
        token_budget=token_budget,
    )
    for group in _groups(waiting, model_map, len(encoded.label), site_bytes):
        readings = {site: Reading(site, state, pool) for site in group}
        states = read_states(model, encoded.batches, readings.values())
        for site, reading in readings.items():
            yield Activations(site, states.pop(reading), encoded.label, encoded.tokens)


def sites_of(model: nn.Module, model_map: ModelMap, sites: Sites, experts: Experts = "routed") -> list[Site]:
    """Return the sites meant: a kind means all of that kind, `"linear"` all but the language-model head.

    Raises:
        ArgumentError: No site, or one twice.
    """
    if experts not in get_args(Experts):
        raise ArgumentError(f"experts={experts!r:.60} must be one of {', '.join(get_args(Experts))}")
    given = _listed(sites)
    found: list[Site] = []
    for site in given:
        if isinstance(site, Site):
            found.append(site)
        elif not isinstance(site, str):
            raise ArgumentTypeError(f"sites={sites!r:.60} must hold kinds and sites, not {site!r:.60}")
        elif site in _NEURONS:
            found += neuron_sites(model_map, site, experts)
        elif site in KINDS:
            found += _sites_of_kind(model, model_map, site)
        else:
            found.append(Site.parse(site))
    if not found or len(set(found)) < len(found):
        raise ArgumentError(f"sites={sites!r:.60} must name different places, at least one")
    for site in found:
        model_map.place(site)
    return found


def site_names(sites: Sites) -> str | list[str]:
    """Return sites as text, to be kept beside what was found there and given again."""
    return str(sites) if isinstance(sites, str | Site) else [str(site) for site in _listed(sites)]


def _listed(sites: Sites) -> Sequence[Site | str]:
    given: object = [sites] if isinstance(sites, str | Site) else sites
    if isinstance(given, bytes) or not isinstance(given, Sequence):
        raise ArgumentTypeError(
            f"sites={sites!r:.60} must be a kind like 'inner', a Site, or a list of these"
        )
    return given


def check_options(function: str, given: Iterable[str]) -> None:
    """Raise an error where a finder is given options that `activations` does not have."""
    known = [one.name for one in signature(activations).parameters.values() if one.kind is one.KEYWORD_ONLY]
    known_options(function, given, known)


def check_texts(texts: Mapping[str, Sequence[str | Audio]], least: int = 1, name: str = "texts") -> None:
    """Raise an error for texts that are not lists of sentences per label, or have too few labels."""
    if not isinstance(texts, Mapping):
        raise ArgumentTypeError(f"{name} must map labels to sentences, not be {texts!r:.60}")
    for label, sentences in texts.items():
        if isinstance(sentences, str) or not isinstance(sentences, Sequence):
            kind = type(sentences).__name__
            hint = "; of parallel text give pairs.texts" if kind == "Bitext" else ""
            raise ArgumentTypeError(f"{name}[{label!r}] must be a list of sentences, not {kind}{hint}")
        if sentences and all(isinstance(one, Audio) for one in sentences):
            continue
        if not sentences or not all(isinstance(text, str) and text.strip() for text in sentences):
            raise ArgumentError(f"{name}[{label!r}] must hold at least one sentence, and no empty one")
    if len({isinstance(sentences[0], Audio) for sentences in texts.values()}) > 1:
        raise ArgumentError(f"{name} has labels that are spoken and labels that are written; give one kind")
    if len(texts) < least:
        raise ArgumentError(
            f"{name} has {len(texts)} label(s) ({', '.join(texts)}), and at least {least} are needed: a "
            "label is compared with the texts of the others"
        )


def _sites_of_kind(model: nn.Module, model_map: ModelMap, kind: Kind) -> list[Site]:
    """Return a model's sites of a kind, without the head, and without a pooler: its output is of no token."""
    head = getattr(model, "get_output_embeddings", lambda: None)()
    return [
        site
        for site in model_map.sites(kind)
        if (head is None or model_map.place(site).module is not head) and "pooler" not in str(site)
    ]


def _groups(
    sites: Sequence[Site], model_map: ModelMap, sentences: int, site_bytes: int
) -> Iterator[list[Site]]:
    """Yield the sites in groups, each of one site or of as many as fit into the memory."""
    group: list[Site] = []
    held = 0
    for site in sites:
        needed = sentences * model_map.place(site).width * _FLOAT_BYTES
        if group and held + needed > site_bytes:
            yield group
            group, held = [], 0
        group.append(site)
        held += needed
    yield group
