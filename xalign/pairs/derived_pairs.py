"""Minimal pairs made of annotated sentences: one that is wrong in form, and one that is wrong in meaning."""

import random
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import Literal

from xalign.checks import whole_number
from xalign.errors import ArgumentError, PairsError
from xalign.pairs.conllu import AnnotatedSentence, Word
from xalign.pairs.item import MinimalPair
from xalign.pairs.items import ParallelItems

Kind = Literal["form", "meaning"]
_FUNCTION = frozenset({"DET", "ADP", "AUX", "PART", "SCONJ"})
_CONTENT = frozenset({"NOUN", "VERB", "ADJ", "PROPN", "ADV", "PRON", "NUM"})


def derived_pairs(
    sentences: Mapping[str, Sequence[AnnotatedSentence]],
    kind: Kind,
    *,
    n: int | None = None,
    pivot: str = "eng_Latn",
    seed: int = 0,
) -> ParallelItems[MinimalPair]:
    """Make minimal pairs of annotated sentences of each language.

    - `"form"`: a function word and the word next to it, of which one depends on the other, change places.
      Both sentences have the same words.
    - `"meaning"`: a noun is replaced by a noun of another sentence with the same features (number, case,
      gender, …). The nouns of good and of bad sentences are the same ones, so that no word by itself tells
      them apart.

    Neither is looked at by a human: some swapped sentences are still good, and some exchanged nouns fit.
    Sentences without such words are left out, and the pairs of different languages are no translations.

    Args:
        sentences: Language -> sentences, as `load_annotated` reads them.
        kind: `"form"` or `"meaning"`.
        n: How many of each language; as many as the language with the fewest has where None.
        pivot: One of the languages.
        seed: Of the choice among the words of a sentence, and of the exchange.

    Raises:
        ArgumentError: An unknown kind.
        PairsError: A language with fewer pairs than n.

    Example:
        >>> words = (Word("So", 0, 2, "ADV"), Word("the", 3, 6, "DET", head=2), Word("dog", 7, 10, "NOUN"))
        >>> sentence = AnnotatedSentence("So the dog", words)
        >>> derived_pairs({"eng_Latn": [sentence, sentence]}, "form")["en"][0].bad
        'So dog the'
    """
    if kind not in ("form", "meaning"):
        raise ArgumentError(f"kind={kind!r:.40} must be 'form' or 'meaning'")
    seed = whole_number("seed", seed)
    make = _form_pairs if kind == "form" else _meaning_pairs
    sides = {code: make(own, random.Random(seed)) for code, own in sentences.items()}
    count = min(map(len, sides.values()), default=0) if n is None else whole_number("n", n, least=2)
    for code, side in sides.items():
        if len(side) < max(count, 2):
            raise PairsError(f"{code} gives {len(side)} pairs of {kind}, of {len(sentences[code])} sentences")
    return ParallelItems(
        {code: side[:count] for code, side in sides.items()},
        pivot,
        source=f"{kind} pairs, seed {seed}",
        is_aligned=False,
    )


def _form_pairs(sentences: Sequence[AnnotatedSentence], draw: random.Random) -> list[MinimalPair]:
    found = []
    for one in sentences:
        places = [at for at in range(1, len(one.words) - 1) if _may_swap(one, at)]
        if places:
            first, second = one.words[(at := draw.choice(places)) : at + 2]
            between = one.text[first.end : second.start]
            swapped = one.text[second.start : second.end] + between + one.text[first.start : first.end]
            bad = one.text[: first.start] + swapped + one.text[second.end :]
            found.append(MinimalPair(one.text, bad, "form"))
    return found


def _may_swap(sentence: AnnotatedSentence, at: int) -> bool:
    """Return whether a word and the next are a function word and the word that it belongs to."""
    one, two = sentence.words[at : at + 2]
    if one.is_part or two.is_part or one.form.casefold() == two.form.casefold():
        return False
    belongs = one.head == at + 1 or two.head == at
    kinds = {one.upos in _FUNCTION, two.upos in _FUNCTION}
    return belongs and kinds == {True, False} and {one.upos, two.upos} <= _FUNCTION | _CONTENT


def _meaning_pairs(sentences: Sequence[AnnotatedSentence], draw: random.Random) -> list[MinimalPair]:
    classes: dict[Hashable, list[tuple[int, Word]]] = defaultdict(list)
    for row, one in enumerate(sentences):
        nouns = [word for word in one.words[1:] if word.upos == "NOUN" and not word.is_part]
        if nouns:
            word = draw.choice(nouns)
            classes[(*sorted(word.features.items()), word.form[0].isupper())].append((row, word))
    bad: dict[int, str] = {}
    for own in classes.values():
        draw.shuffle(own)
        for (row, word), other in _exchanged(own):
            text = sentences[row].text
            bad[row] = text[: word.start] + other.form + text[word.end :]
    return [MinimalPair(sentences[row].text, bad[row], "meaning") for row in sorted(bad)]


def _exchanged(own: Sequence[tuple[int, Word]]) -> list[tuple[tuple[int, Word], Word]]:
    """Give every noun another one of its class, each once; leave out those of which there are too many."""
    counts = Counter(word.form for _, word in own)
    # Ordered by form and moved by the most frequent one, no noun meets itself if none is more than half.
    ordered = sorted(own, key=lambda one: (-counts[one[1].form], one[1].form))
    most = counts[ordered[0][1].form]
    while most > len(ordered) - most:
        ordered, most = ordered[1:], most - 1
    if not ordered:
        return []
    most = max(Counter(word.form for _, word in ordered).values())
    moved = ordered[most:] + ordered[:most]
    return [(one, other) for one, (_, other) in zip(ordered, moved, strict=True)]
