"""Which words of the pairs translate each other: read from files, and checked against the sentences.

Links are a list per language: per pair, (word of the sentence, word of the pivot sentence), counted from 0.
Words are separated by whitespace.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path

from xalign.errors import ArgumentError, ArgumentTypeError, PairsError
from xalign.model.inputs import Inputs, TextOptions
from xalign.model.words import NO_WORD
from xalign.pairs.bitext import Bitext
from xalign.pairs.languages import match_language
from xalign.pairs.parallel import ParallelPairs

Link = tuple[int, int]
LinksOfPairs = Sequence[Sequence[Link]]
Links = Mapping[str, LinksOfPairs | str | Path]
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class PairWords:
    """The words of one pair, numbered from 0 without gaps, as many as have a token.

    Attributes:
        language: The number of each token's word; −1 at tokens of no word.
        pivot: The same for the pivot sentence.
        links: The words that translate each other: (word of the sentence, word of the pivot sentence).
    """

    language: tuple[int, ...]
    pivot: tuple[int, ...]
    links: tuple[Link, ...]


def read_links(file: str | Path) -> list[list[Link]]:
    r"""Read links in the form of word aligners such as fast_align: a line per pair, like `0-0 2-1`.

    The first number of each is the word of the sentence, the second that of the pivot sentence.

    Args:
        file: The file, in UTF-8.

    Raises:
        ArgumentError: It cannot be read, or holds something else; the line is named.

    Example:
        >>> _ = Path("deu_Latn.links").write_text("0-0 2-1\n\n")
        >>> read_links("deu_Latn.links")
        [[(0, 0), (2, 1)], []]
    """
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ArgumentError(f"links={str(file)!r} cannot be read as UTF-8 text: {error}") from None
    return [[_link(word, number, file) for word in line.split()] for number, line in enumerate(lines, 1)]


def _link(word: str, line: int, file: str | Path) -> Link:
    first, _, second = word.partition("-")
    if not (first.isdecimal() and second.isdecimal()):
        raise ArgumentError(
            f"links={str(file)!r}, line {line}: {word!r:.40} must be like 0-2, the word of the sentence and "
            "that of the pivot sentence"
        )
    return int(first), int(second)


def links_of(given: Links | str | Path | None, pairs: ParallelPairs) -> dict[str, LinksOfPairs]:
    """Return language -> links of every pair, checked against the sentences.

    Args:
        given: Language -> links, or a file of them; or a folder with a file per language, named by its code.
        pairs: The sentences.

    Raises:
        ArgumentError: No links, none for a language, a number of them other than that of the pairs, a word
            that does not exist, or a pair without a link.
        ArgumentTypeError: Something other than links.
        PairsError: Pairs of recordings, which have no words.
    """
    by_code = _by_code(given, pairs)
    return {code: _checked(code, by_code[code], bitext) for code, bitext in pairs.items()}


def linked_only(
    pairs: ParallelPairs, links: Links | str | Path
) -> tuple[ParallelPairs, dict[str, LinksOfPairs]]:
    """Leave out the pairs without a link, from which a word loss has nothing to learn.

    Args:
        pairs: The sentences.
        links: Their links, as `links_of` takes them.

    Returns:
        The pairs that have a link, chosen for each language separately, and their links.

    Raises:
        ArgumentError: As in `links_of`.
        PairsError: A language with fewer than 2 pairs that have one.

    Example:
        >>> few = pairs.first(3)
        >>> few, links = linked_only(few, {"deu_Latn": [[(0, 0)], [], [(1, 0)]]})
        >>> few.counts, links
        ({'deu_Latn': 2}, {'deu_Latn': [[(0, 0)], [(1, 0)]]})
    """
    by_code = _by_code(links, pairs)
    found: dict[str, LinksOfPairs] = {}
    bitexts = []
    for code, bitext in pairs.items():
        own = _listed(code, by_code[code], bitext)
        kept = [row for row, one in enumerate(own) if len(one)]
        if len(kept) < 2:  # noqa: PLR2004
            raise PairsError(f"{code} has {len(kept)} pair(s) with a link; at least 2 are needed")
        found[code] = [own[row] for row in kept]
        bitexts.append(bitext.rows(kept))
    return ParallelPairs.from_bitexts(bitexts, pivot=pairs.pivot, source=pairs.source), found


def _by_code(given: Links | str | Path | None, pairs: ParallelPairs) -> dict[str, LinksOfPairs | str | Path]:
    """Return language -> its links or their file, for every language of the pairs."""
    if pairs.is_audio:
        raise PairsError("links are between words, and these pairs are spoken; take a loss of sentences")
    given = _files_in(given) if isinstance(given, str | Path) else given
    if not isinstance(given, Mapping):
        raise ArgumentTypeError(
            f"links={given!r:.60} must map each language to the links of its pairs, like {{'deu_Latn': [[(0, "
            "0), (2, 1)], ...]}, or name a folder with a file per language"
        )
    by_code = {match_language(code, pairs) or code: one for code, one in given.items()}
    missing = [code for code in pairs if code not in by_code]
    if missing:
        raise ArgumentError(
            f"links has none of {', '.join(missing)}, which are trained on; it has those of "
            f"{', '.join(map(str, given)) or 'no language'}"
        )
    return by_code


def _files_in(folder: str | Path) -> dict[str, Path]:
    """Return language -> its file of links in a folder."""
    if not Path(folder).is_dir():
        raise ArgumentError(
            f"links={str(folder)!r} is no folder; give one with a file per language, named by its code, like "
            "deu_Latn.txt"
        )
    return {path.stem: path for path in sorted(Path(folder).iterdir()) if path.is_file()}


def _listed(code: str, given: LinksOfPairs | str | Path, bitext: Bitext[str]) -> LinksOfPairs:
    """Return the links of one language, one list per pair."""
    own = read_links(given) if isinstance(given, str | Path) else given
    if not isinstance(own, Sequence) or any(not isinstance(one, Sequence) for one in own):
        raise ArgumentTypeError(f"links[{code!r}] must be a list of links per pair, not {own!r:.60}")
    if len(own) != len(bitext):
        raise ArgumentError(
            f"links[{code!r}] has {len(own)} entries for {len(bitext)} pairs: they are of other sentences; "
            "entry i is of pair i"
        )
    return own


def _checked(code: str, given: LinksOfPairs | str | Path, bitext: Bitext[str]) -> LinksOfPairs:
    own = _listed(code, given, bitext)
    for row, links in enumerate(own):
        sides = bitext.sentences[row], bitext.pivot_sentences[row]
        counts = tuple(len(side.split()) for side in sides)
        for link in links:
            if not _is_link(link):
                raise ArgumentTypeError(
                    f"links[{code!r}][{row}] holds {link!r:.40}; a link is (word, pivot word), two whole "
                    "numbers"
                )
            if not all(0 <= word < count for word, count in zip(link, counts, strict=True)):
                raise ArgumentError(
                    f"links[{code!r}][{row}] holds {tuple(link)}, and pair {bitext.ids[row]} has "
                    f"{counts[0]} and {counts[1]} words, counted from 0: they are of other sentences, or of "
                    "other words than whitespace separates"
                )
    empty = [bitext.ids[row] for row, links in enumerate(own) if not len(links)]
    if empty:
        raise ArgumentError(
            f"links[{code!r}] has no link for {len(empty)} pair(s), like {', '.join(empty[:_SHOWN])}: a "
            "batch of such pairs would have no loss. xalign.training.word_links.linked_only(pairs, links) "
            "leaves them out"
        )
    return own


def _is_link(link: object) -> bool:
    return (
        isinstance(link, Sequence)
        and len(link) == 2  # noqa: PLR2004
        and all(isinstance(word, Integral) and not isinstance(word, bool) for word in link)
    )


def pair_words(
    bitext: Bitext[str],
    links: LinksOfPairs,
    inputs: Inputs,
    text: TextOptions | None,
    lengths: Sequence[tuple[int, int]],
) -> list[PairWords]:
    """Return the words of each pair of a language, as its tokens have them.

    Args:
        bitext: The sentences.
        links: The links of each pair.
        inputs: What the model takes.
        text: How sentences become tokens.
        lengths: Per pair, the number of tokens of both sides, after which they are cut.

    Raises:
        ArgumentError: A linked word without a token: it was cut off, or the tokenizer drops it.
    """
    language = inputs.words(bitext.sentences, bitext.language, text)
    pivot = inputs.words(bitext.pivot_sentences, bitext.pivot, text)
    found, lost = [], []
    for row, (one, other, (first, second)) in enumerate(zip(language, pivot, lengths, strict=True)):
        sides = _without_gaps(one[:first]), _without_gaps(other[:second])
        (numbers, known), (pivot_numbers, pivot_known) = sides
        if all(word in known and other in pivot_known for word, other in links[row]):
            own = tuple((known[word], pivot_known[other]) for word, other in links[row])
            found.append(PairWords(numbers, pivot_numbers, own))
        else:
            lost.append(bitext.ids[row])
    if lost:
        raise ArgumentError(
            f"links[{bitext.language!r}] links words that have no token in {len(lost)} pair(s), like "
            f"{', '.join(lost[:_SHOWN])}: max_length or the context cuts them off, or the tokenizer drops "
            "them. Raise max_length, or leave these links or pairs out"
        )
    return found


def _without_gaps(words: Iterable[int]) -> tuple[tuple[int, ...], dict[int, int]]:
    """Return each token's word, numbered anew from 0 without gaps, and old -> new number."""
    words = tuple(words)
    known = {word: new for new, word in enumerate(sorted(set(words) - {NO_WORD}))}
    return tuple(known.get(word, NO_WORD) for word in words), known
