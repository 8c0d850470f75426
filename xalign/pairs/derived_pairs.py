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
    - `"meaning"`: two sentences exchange a noun with the same features (number, case, gender, …). The nouns
      of good and of bad sentences are the same ones, so that no word by itself tells them apart. Both pairs
      are of one group.

    No human has checked them: some swapped sentences are still good, and some exchanged nouns fit. Sentences
    without such words are left out, and the pairs of different languages are not translations.

    Args:
        sentences: Language -> sentences, as `load_annotated` reads them.
        kind: `"form"` or `"meaning"`.
        n: How many pairs of each language; if None, as many as the language with the fewest has.
        pivot: One of the languages.
        seed: The seed of the choice among the words of a sentence, and of the exchange.

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
    found: list[MinimalPair] = []
    partners = [two for own in classes.values() for two in _partners(own, draw)]
    for (row, word), (other, noun) in sorted(partners, key=lambda two: min(two[0][0], two[1][0])):
        for at, own, theirs in ((row, word, noun), (other, noun, word)):
            text = sentences[at].text
            bad = text[: own.start] + theirs.form + text[own.end :]
            found.append(MinimalPair(text, bad, "meaning", f"{min(row, other)}+{max(row, other)}"))
    return found


def _partners(
    own: Sequence[tuple[int, Word]], draw: random.Random
) -> list[tuple[tuple[int, Word], tuple[int, Word]]]:
    """Divide nouns of a class into twos of different form; leave out those of which there are too many."""
    own = draw.sample(own, len(own))
    counts = Counter(word.form for _, word in own)
    # Ordered by form, no noun is half of the list away from itself if none is more than half of it.
    ordered = sorted(own, key=lambda one: (-counts[one[1].form], one[1].form))
    most = counts[ordered[0][1].form]
    surplus = max(0, 2 * most - len(ordered))
    ordered = ordered[surplus:]
    ordered = ordered[len(ordered) % 2 :]
    half = len(ordered) // 2
    return list(zip(ordered[:half], ordered[half:], strict=True))
