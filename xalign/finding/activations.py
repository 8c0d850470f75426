"""What units answer to texts of several languages: pooled per sentence, a few sites at a time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from xalign.checks import whole_number
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.model.architectures.map import ModelMap, map_model
from xalign.model.architectures.sites import KINDS, Pool, Reading, Site, State
from xalign.model.batches import make_batches
from xalign.model.encode import encode
from xalign.model.inputs import context_of, pad_id_of, vocabulary_of
from xalign.model.read import read_states

SITE_BYTES = 2**30

Sites = str | Site | Sequence[Site | str]


@dataclass(frozen=True, slots=True)
class Activations:
    """Answers of one site's units.

    Attributes:
        site: The place.
        values: Per sentence and unit, the pooled answer.
        label: Per sentence, the number of its label.
        tokens: Per sentence, how many tokens were pooled.
    """

    site: Site
    values: Float[Tensor, "sentence unit"]
    label: Int[Tensor, " sentence"]
    tokens: Int[Tensor, " sentence"]

    def of(self, label: int) -> Bool[Tensor, " sentence"]:
        """Which sentences are of a label."""
        return self.label == label


def sites_of(model: nn.Module, model_map: ModelMap, sites: Sites) -> list[Site]:
    """The sites meant: a kind's name means all of that kind, `"linear"` all but the language-model head.

    Raises:
        ArgumentError: None, or one twice.
    """
    given = [sites] if isinstance(sites, str | Site) else sites
    if not isinstance(given, Sequence):
        raise ArgumentTypeError(
            f"sites={sites!r:.60} must be a kind like 'inner', a Site, or a list of these"
        )
    found: list[Site] = []
    for site in given:
        if isinstance(site, Site):
            found.append(site)
        elif site in KINDS:
            head = getattr(model, "get_output_embeddings", lambda: None)()
            of_kind = model_map.sites(site)
            # A pooler's answer is to a sentence, and to no token.
            found += [
                one
                for one in of_kind
                if (head is None or model_map.place(one).module is not head) and "pooler" not in str(one)
            ]
        else:
            found.append(Site.parse(site))
    if not found or len(set(found)) < len(found):
        raise ArgumentError(f"sites={sites!r:.60} must name different places, at least one")
    for site in found:
        model_map.place(site)
    return found


def named(sites: Sites) -> str | list[str]:
    """The sites as text, to be kept beside what was found there, and to be given again."""
    return str(sites) if isinstance(sites, str | Site) else [str(site) for site in sites]


def activations(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    texts: Mapping[str, Sequence[str]],
    sites: Sites = "inner",
    *,
    pool: Pool = "mean",
    state: State = "value",
    pool_special_tokens: bool = True,
    truncate: bool = False,
    token_budget: int = 8192,
    site_bytes: int = SITE_BYTES,
) -> Iterator[Activations]:
    """Runs texts through a model and gives what the units of each site answer, site by site.

    As many sites are held at a time as fit; the texts are run again for the next ones, so that memory does
    not grow with the number of sites.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        texts: Label -> sentences; texts that two labels share are the caller's to forbid.
        sites: A kind (`"inner"`: that of every block), a site, or a list of these.
        pool: Over a sentence's tokens.
        state: What is taken of a token.
        pool_special_tokens: Whether the special tokens that the tokenizer adds are pooled.
        truncate: Whether sentences longer than the context are cut, and not refused.
        token_budget: The most tokens of one forward, padding included.
        site_bytes: The most memory of the site_activations held at a time; one site is always held.

    Raises:
        ArgumentError: Fewer than one sentence of a label, sites that do not exist, or sentences longer than
            the context.
    """
    check_texts(texts)
    model_map = map_model(model)
    places = sites_of(model, model_map, sites)
    site_bytes = whole_number("site_bytes", site_bytes, least=1)
    context, vocabulary = context_of(model, tokenizer), vocabulary_of(model)
    coded = [
        encode(
            tokenizer,
            sentences,
            language=label,
            pool_special_tokens=pool_special_tokens,
            context=context,
            truncate=truncate,
            vocabulary=vocabulary,
        )
        for label, sentences in texts.items()
    ]
    lines = [line for one in coded for line in one.lines]
    label = torch.tensor([number for number, one in enumerate(coded) for _ in one.lines])
    tokens = torch.tensor([sum(pooled) for _, pooled in lines])
    batches = make_batches(lines, pad_id=pad_id_of(tokenizer, below=vocabulary), token_budget=token_budget)
    waiting = list(places)
    while waiting:
        group = [waiting.pop(0)]
        held = len(lines) * model_map.place(group[0]).width * 4
        while waiting and held + len(lines) * model_map.place(waiting[0]).width * 4 <= site_bytes:
            group.append(waiting.pop(0))
            held += len(lines) * model_map.place(group[-1]).width * 4
        readings = {site: Reading(site, state, pool) for site in group}
        states = read_states(model, batches, readings.values())
        for site, reading in readings.items():
            yield Activations(site, states.pop(reading), label, tokens)


def check_texts(texts: Mapping[str, Sequence[str]], least: int = 1) -> None:
    """An error for texts that are not lists of sentences per label, or of fewer labels than needed."""
    if not isinstance(texts, Mapping):
        raise ArgumentTypeError(f"texts must map labels to sentences, not be {texts!r:.60}")
    for label, sentences in texts.items():
        if isinstance(sentences, str) or not isinstance(sentences, Sequence):
            kind = type(sentences).__name__
            hint = "; of parallel text give pairs.texts" if kind == "Bitext" else ""
            raise ArgumentTypeError(f"texts[{label!r}] must be a list of sentences, not {kind}{hint}")
        if not sentences or not all(isinstance(text, str) and text.strip() for text in sentences):
            raise ArgumentError(f"texts[{label!r}] must hold at least one sentence, and no empty one")
    if len(texts) < least:
        raise ArgumentError(
            f"texts has {len(texts)} label(s) ({', '.join(texts)}), and at least {least} are needed: one is "
            "told from the texts of the others"
        )
