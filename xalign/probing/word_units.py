"""The units that carry an attribute of words, found for each language separately."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from xalign.checks import known_options, whole_number
from xalign.errors import ArgumentError
from xalign.finding.activations import Sites, site_names
from xalign.finding.places import Places
from xalign.finding.provenance import origin_of
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.architectures.sites import Site
from xalign.pairs.languages import normalize_languages
from xalign.probing.labelled import LabelledText, LabelledTexts, WordStates, word_states
from xalign.probing.selectors import Examples, Selector, resolve_selector
from xalign.units.unit_set import UnitSet

_PARTS = ("train", "dev", "test")
_OF_FIVE = (0, 0, 0, 1, 2)  # sentence i goes to the part of i mod 5
_OPTIONS = ("truncate", "source_codes", "token_budget", "experts")


@takes_layout
def word_units(
    model: nn.Module,
    tokenizer: Any,
    texts: LabelledTexts,
    sites: Sites = "hidden",
    *,
    k: int = 50,
    selector: str | Selector = "gaussian",
    least: int = 20,
    seed: int = 0,
    shuffled: bool = False,
    **options: Any,
) -> UnitSet:
    """Find, in each language, the dimensions of a layer's states that carry an attribute of its words.

    Of every five sentences, three are for training, one for selection, and one is left for tests.

    Args:
        model: The model; it is only read.
        tokenizer: Its tokenizer, a fast one.
        texts: Language -> sentences with labelled words (see `labelled_texts`); at least 2.
        sites: A kind, a site like `"3.hidden"`, or a list; in the paper, one layer's hidden state.
        k: How many units of each language and site; 50 in the paper.
        selector: `"greedy_probe"`, the paper's, `"gaussian"`, a fast one, or a `Selector` of your own.
        least: A label is used if it has at least this many words in each of the three parts.
        seed: The seed of the selector, and of the shuffling.
        shuffled: As a control, shuffle the labels among the words of each language and part.
        **options: Of `token_values`: `truncate`, `source_codes`, `token_budget`, `experts`.

    Returns:
        Per language and site its units, the best first. A score is the normalised mutual information of the
        unit, or of all that the greedy probe chose by then; a value is the mean over the words.

    Raises:
        ArgumentError: Fewer than 2 languages, or one with fewer than 2 labels that have enough words.

    Reference:
        Wang, Minervini and Ponti (2024), Probing the Emergence of Cross-lingual Alignment.

    Example:
        >>> dogs = [LabelledText("Dogs bark.", ((0, 4, "NOUN"), (5, 9, "VERB")))] * 10
        >>> word_units(model, tokenizer, {"en": dogs, "de": dogs}, "1.hidden", k=4, least=2)
        UnitSet(eng_Latn 4, deu_Latn 4)
    """
    known_options("word_units", options, _OPTIONS)
    k, seed = whole_number("k", k, least=1), whole_number("seed", seed)
    way, texts = resolve_selector(selector), checked_texts(texts)
    kept = labels_of(texts, whole_number("least", least, least=2))
    widths: dict[Site, int] = {}
    found: dict[str, list[tuple[Tensor, ...]]] = {code: [] for code in texts}
    for states in word_states(model, tokenizer, texts, sites, **options):
        for number, code in enumerate(texts):
            parts = _parts(states, number, kept[code], seed if shuffled else None)
            units, score, value = _selected(way, parts, k, seed, states.site)
            found[code].append((units + sum(widths.values()), score, value))
        widths[states.site] = states.values.shape[1]
    settings = {"k": k, "seed": seed, "shuffled": shuffled, "labels": kept, **options}
    origin = _origin(model, texts, way, settings | {"sites": site_names(sites)})
    chosen = [tuple(map(torch.cat, zip(*one, strict=True))) for one in found.values()]
    return Places(widths).unit_set(list(texts), chosen, origin)


def _origin(
    model: nn.Module, texts: LabelledTexts, way: Selector, settings: Mapping[str, Any]
) -> dict[str, Any]:
    plain = {code: [one.text for one in own] for code, own in texts.items()}
    return origin_of(model, plain, f"word_units, {way.summary}", {"selector": way.name, **settings})


def _selected(
    way: Selector, parts: tuple[Examples, Examples], k: int, seed: int, site: Site
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the units of one language at one site, with their scores and values."""
    train, dev = parts
    if k > train[0].shape[1]:
        raise ArgumentError(f"k={k} is more than the {train[0].shape[1]} units of {site}")
    units, score = way.fn(train, dev, k, seed)
    return units, score, train[0].mean(dim=0)[units]


def checked_texts(texts: LabelledTexts) -> dict[str, list[LabelledText]]:
    """Return language -> sentences, with the codes normalised.

    Raises:
        ArgumentError: Fewer than 2 languages, or a list of anything else than labelled sentences.

    Example:
        >>> one = [LabelledText("Dogs bark.", ((0, 4, "NOUN"),))]
        >>> list(checked_texts({"en": one, "de": one}))
        ['eng_Latn', 'deu_Latn']
    """
    if not isinstance(texts, Mapping) or len(texts) < 2:  # noqa: PLR2004
        raise ArgumentError("texts must map at least 2 languages to sentences with labelled words")
    for code, own in texts.items():
        if not own or not all(isinstance(one, LabelledText) for one in own):
            raise ArgumentError(f"texts[{code!r}] must be a list of LabelledText; labelled_texts makes them")
    codes = normalize_languages("texts", texts)
    return {code: list(own) for code, own in zip(codes, texts.values(), strict=True)}


def labels_of(texts: Mapping[str, Sequence[LabelledText]], least: int = 20) -> dict[str, list[str]]:
    """Return, per language, the labels that have enough words in each part, in alphabetical order.

    Args:
        texts: Language -> sentences with labelled words.
        least: How many words are enough.

    Raises:
        ArgumentError: A language with fewer than 2 such labels.

    Example:
        >>> one = LabelledText("Dogs bark.", ((0, 4, "NOUN"), (5, 9, "VERB")))
        >>> labels_of({"eng_Latn": [one] * 10}, least=2)
        {'eng_Latn': ['NOUN', 'VERB']}
    """
    return {code: _kept_labels(own, code, least) for code, own in texts.items()}


def _kept_labels(own: Sequence[LabelledText], code: str, least: int) -> list[str]:
    counts = [Counter[str]() for _ in _PARTS]
    for row, one in enumerate(own):
        counts[_OF_FIVE[row % 5]].update(label for _, _, label in one.words)
    enough = sorted(label for label in counts[0] if all(count[label] >= least for count in counts))
    if len(enough) < 2:  # noqa: PLR2004
        total = sum(counts, Counter[str]())
        listed = ", ".join(f"{label} {n}" for label, n in total.most_common(6))
        raise ArgumentError(
            f"{code}: fewer than 2 labels have {least} words in each part of the texts (in all: {listed}); "
            "give more sentences or another attribute, or lower least"
        )
    return enough


def _parts(
    states: WordStates, language: int, labels: list[str], seed: int | None
) -> tuple[Examples, Examples]:
    """Return states and numbers of labels of a language's words for training, and for choosing."""
    own = [
        row for row in (states.language == language).nonzero()[:, 0].tolist() if states.label[row] in labels
    ]
    part = torch.tensor([_OF_FIVE[int(states.sentence[row]) % 5] for row in own])
    number = torch.tensor([labels.index(states.label[row]) for row in own])
    values = states.values[torch.tensor(own)]
    draw = None if seed is None else torch.Generator().manual_seed(seed)

    def examples() -> Iterator[Examples]:
        for wanted in (0, 1):
            rows = (part == wanted).nonzero()[:, 0]
            order = torch.arange(len(rows)) if draw is None else torch.randperm(len(rows), generator=draw)
            yield values[rows], number[rows][order]

    train, dev = examples()
    return train, dev
