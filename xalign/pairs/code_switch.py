"""`code_switch`: pairs of a sentence with words of another language and the sentence itself."""

import random
from collections.abc import Sequence
from typing import Literal

from xalign.checks import number, whole_number
from xalign.errors import ArgumentError, ArgumentTypeError, PairsError
from xalign.pairs.bitext import Bitext, checked_sentences
from xalign.pairs.dictionary import BilingualDictionary
from xalign.pairs.parallel import ParallelPairs
from xalign.pairs.words import Span, writes_spaces


def code_switch(
    texts: Sequence[str],
    dictionaries: BilingualDictionary | Sequence[BilingualDictionary],
    *,
    share: float = 0.5,
    seed: int = 0,
    ids: Sequence[str] | None = None,
    unswitched: Literal["refuse", "drop"] = "refuse",
) -> ParallelPairs[str]:
    """Make pairs without parallel text: some words of each sentence are replaced by their translations.

    The pivot side is the sentence as it is, and the other side has `share` of its words replaced, at random.
    With `share=1` every word that the dictionary has is replaced. Order and endings stay.

    A word is looked up as it is written, and then ignoring case; of several translations, one is drawn at
    random. A translation that is the word itself replaces nothing. A capital at the start of a word stays.

    Args:
        texts: Sentences of the dictionaries' pivot language.
        dictionaries: One, or one per language.
        share: How many of a sentence's words are replaced, above 0 and at most 1; at least one is.
        seed: The seed of the draws, which depend on the sentence's row and the language alone.
        ids: An identifier per sentence; row numbers if None.
        unswitched: What to do with sentences without a word to replace, which would make pairs of equal
            sides: `"refuse"` the text, or `"drop"` them; `source` says how many.

    Returns:
        Per language the pairs, in the order of the texts.

    Raises:
        PairsError: No word to replace in the text or in a sentence, or fewer than two pairs of a language.
        ArgumentError: `share` out of range, dictionaries of different pivots or of one language twice, or
            `unswitched` that is neither.

    Reference:
        Qin et al. (2020), CoSDA-ML; Li et al. (2024), PreAlign: 5 % of the words, of the input side; Lai et
        al. (2023), Bi-ACL: `share=1` is their pseudo-source without their constrained decoder.

    Example:
        >>> dictionary = BilingualDictionary("de", "en", {"house": ("Haus",), "old": ("alt",)})
        >>> texts = ["The old house.", "A house is old."]
        >>> code_switch(texts, dictionary, share=1)["deu_Latn"].sentences
        ('The alt Haus.', 'A Haus is alt.')
    """
    share, seed = _checked_share(share), whole_number("seed", seed)
    if unswitched not in ("refuse", "drop"):
        raise ArgumentError(f"unswitched={unswitched!r:.40} must be 'refuse' or 'drop'")
    given = checked_dictionaries(dictionaries)
    texts, names = _named(texts, ids)
    bitexts, dropped = [], 0
    for one in given:
        draws = (random.Random(f"{seed} {one.language} {row}") for row in range(len(texts)))
        switched = [_switched(text, one, share, draw) for text, draw in zip(texts, draws, strict=True)]
        kept = [row for row, text in enumerate(switched) if text is not None]
        _check_kept(one, kept, names, unswitched)
        dropped += len(texts) - len(kept)
        columns = [tuple(column[row] or "" for row in kept) for column in (switched, texts, names)]
        bitexts.append(Bitext(one.language, one.pivot, *columns))
    source = f"code-switched, share {share}, seed {seed}{f', {dropped} dropped' if dropped else ''}"
    return ParallelPairs.from_bitexts(bitexts, given[0].pivot, source=source)


def _checked_share(share: float) -> float:
    share = number("share", share)
    if not 0 < share <= 1:
        raise ArgumentError(f"share={share} must be above 0 and at most 1")
    return share


def _named(texts: Sequence[str], ids: Sequence[str] | None) -> tuple[Sequence[str], Sequence[str]]:
    """Return sentences and an identifier for each."""
    texts = checked_sentences("texts", texts)
    names = [str(row) for row in range(len(texts))] if ids is None else checked_sentences("ids", ids)
    if len(names) != len(texts):
        raise PairsError(f"ids has {len(names)} entries for {len(texts)} texts")
    return texts, names


def checked_dictionaries(dictionaries: object) -> list[BilingualDictionary]:
    """Return dictionaries as a list.

    Raises:
        ArgumentTypeError: Something else than a `BilingualDictionary` or a list of them.
        ArgumentError: Dictionaries of different pivots, or of one language twice.
    """
    given = [dictionaries] if isinstance(dictionaries, BilingualDictionary) else dictionaries
    if isinstance(given, str) or not isinstance(given, Sequence) or not given:
        raise ArgumentTypeError(
            f"dictionaries={given!r:.60} must be a BilingualDictionary or a list of them; load_dictionary "
            "reads one"
        )
    for one in given:
        if not isinstance(one, BilingualDictionary):
            raise ArgumentTypeError(f"dictionaries must hold BilingualDictionary objects, not {one!r:.60}")
    pivots, languages = {one.pivot for one in given}, [one.language for one in given]
    if len(pivots) > 1 or len(set(languages)) < len(languages):
        raise ArgumentError(
            f"dictionaries are of the pivots {', '.join(sorted(pivots))} and the languages "
            f"{', '.join(languages)}; they need one pivot, and each another language"
        )
    return list(given)


def _check_kept(
    dictionary: BilingualDictionary, kept: Sequence[int], names: Sequence[str], unswitched: str
) -> None:
    """Refuse text that the dictionary has no word of, or sentences of which it has none."""
    name = f"the dictionary {dictionary.source or 'given'} ({dictionary.pivot} to {dictionary.language})"
    if not kept:
        raise PairsError(
            f"{name} has no word of the {len(names)} texts; are they in {dictionary.pivot}, and are its "
            "entries written as they stand in text?"
        )
    missing = [names[row] for row in sorted(set(range(len(names))) - set(kept))]
    if missing and unswitched == "refuse":
        raise PairsError(
            f"{name} has no word to replace in {len(missing)} of {len(names)} texts: "
            f"{', '.join(missing[:5])}{' …' if len(missing) > 5 else ''}; pass unswitched='drop' to drop them"  # noqa: PLR2004
        )


def _switched(text: str, dictionary: BilingualDictionary, share: float, draw: random.Random) -> str | None:
    """Return a text with words replaced; None where no word can be."""
    spans = dictionary.spans(text)
    options = {
        span: [one for one in dictionary.translations(word) if one.casefold() != word.casefold()]
        for span in spans
        for word in [text[slice(*span)]]
    }
    possible = [span for span in spans if options[span]]
    if not possible:
        return None
    count = min(len(possible), max(1, round(share * len(spans))))
    chosen = sorted(draw.sample(possible, count))
    words = {span: _capital(text[span[0]], draw.choice(options[span])) for span in chosen}
    return _joined(text, words, writes_spaces(dictionary.pivot), writes_spaces(dictionary.language))


def _capital(first: str, word: str) -> str:
    return word[0].upper() + word[1:] if first.isupper() else word


def _joined(text: str, words: dict[Span, str], spaced: bool, other_spaced: bool) -> str:
    """Write words into a text, with the spaces that their language has.

    Two translations into a language without spaces that stand beside each other lose the space between them.
    A translation into a language with spaces gets them in text that has none.
    """
    found, end, after_word = "", 0, False
    for (start, stop), word in words.items():
        between = text[end:start]
        if spaced and not other_spaced and after_word and between.isspace():
            between = ""
        found += between
        if other_spaced and not spaced and found and (found[-1].isalnum()):
            found += " "
        found += word
        end, after_word = stop, True
        if other_spaced and not spaced and text[stop : stop + 1].isalnum():
            found += " "
    return found + text[end:]
