"""`BiasList`: words, templates and sentence pairs of several languages, from a TOML file."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from xalign.checks import names
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.languages import normalize_language
from xalign.schema import Fields, Text, checked

SETS = ("x", "y", "a", "b")
SLOT = "{word}"
Pairs = Mapping[str, Sequence[tuple[str, str]]]
"""Language -> pairs of sentences that differ in one attribute, the stereotype first."""

_Words = Annotated[list[Text], Meta(min_length=1)]
_Pair = Annotated[list[Text], Meta(min_length=2, max_length=2)]


class _WordFields(Fields):
    templates: _Words
    x: _Words
    y: _Words
    a: _Words
    b: _Words


class _ListFields(Fields):
    about: Text
    sets: dict[str, Text]
    words: dict[str, _WordFields]
    pairs: dict[str, list[_Pair]] = {}


@dataclass(frozen=True, slots=True)
class WordSets:
    """Two sets of targets, two sets of attributes, and the sentences to put them into.

    Attributes:
        x: Targets that are said to go with `a`.
        y: Targets that are said to go with `b`; as many as in `x`.
        a: Attributes.
        b: Attributes of the other kind.
        templates: Sentences with `{word}` once; the word alone where there is only `"{word}"`.

    Raises:
        ArgumentError: An empty set, sets x and y of different sizes, a word twice in a set, a word in both
            sets of targets or in both of attributes, or a template without `{word}`.

    Example:
        >>> words = WordSets(["rose"], ["fly"], ["joy"], ["war"], ["This is the {word}."])
        >>> words.sentences("x")
        ['This is the rose.']
    """

    x: Sequence[str]
    y: Sequence[str]
    a: Sequence[str]
    b: Sequence[str]
    templates: Sequence[str] = (SLOT,)

    def __post_init__(self) -> None:
        """Check the words."""
        for name in (*SETS, "templates"):
            given = names(name, getattr(self, name))
            if not given or len(set(given)) < len(given) or not all(one.strip() for one in given):
                raise ArgumentError(f"{name}={given!r:.80} must hold different words, at least one")
        if len(self.x) != len(self.y):
            raise ArgumentError(
                f"x has {len(self.x)} words and y has {len(self.y)}; the test needs as many of both"
            )
        for one, other in (("x", "y"), ("a", "b")):
            shared = set(getattr(self, one)) & set(getattr(self, other))
            if shared:
                raise ArgumentError(f"{one} and {other} both have {sorted(shared)[0]!r}; leave it out of one")
        for template in self.templates:
            if template.count(SLOT) != 1:
                raise ArgumentError(f"templates has {template!r:.80}, which must hold {SLOT} once")

    def sentences(self, name: str) -> list[str]:
        """Return the sentences of a set, `"x"`, `"y"`, `"a"` or `"b"`: each word in every template."""
        return [template.replace(SLOT, word) for word in getattr(self, name) for template in self.templates]


@dataclass(frozen=True, slots=True)
class BiasList:
    """What a bias is measured with, in several languages.

    Attributes:
        about: What is measured, such as "men with work, women with home".
        words: Language -> its word sets, for `seat`.
        pairs: Language -> sentence pairs, the stereotype first, for `likelihood_gaps`.
        sets: What each of x, y, a and b stands for.
    """

    about: str
    words: Mapping[str, WordSets]
    pairs: Pairs = field(default_factory=dict)
    sets: Mapping[str, str] = field(default_factory=dict)


def load_bias_list(source: str | Path) -> BiasList:
    """Read a bias list: one of those that ship with xalign, or a TOML file of yours.

    A file has `about`, `sets` (what x, y, a and b stand for), a table `[words.eng_Latn]` with `templates`,
    `x`, `y`, `a` and `b` per language, and under `[pairs]` (optional) a list of sentence pairs per language.

    Args:
        source: `"kin_and_work"`, `"flowers_and_insects"`, or the path of a file.

    Returns:
        The list, with the languages' codes as xalign writes them.

    Raises:
        ArgumentError: No such list, or a file that is not one; the error says where.

    Example:
        >>> found = load_bias_list("flowers_and_insects")
        >>> found.about, found.words["deu_Latn"].x[0]
        ('flowers with good things, insects with bad ones', 'die Rose')
    """
    text = _text_of(source)
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as reason:
        raise ArgumentError(f"source={str(source)!r:.200} is no TOML file: {reason}") from None
    found = checked(_ListFields, content, f"bias list {str(source)!r:.200}")
    if set(found.sets) != set(SETS):
        raise ArgumentError(f"sets of {str(source)!r:.200} must name x, y, a and b, not {sorted(found.sets)}")
    words = {
        normalize_language(code): WordSets(each.x, each.y, each.a, each.b, each.templates)
        for code, each in found.words.items()
    }
    pairs = {
        normalize_language(code): tuple((one, other) for one, other in each)
        for code, each in found.pairs.items()
    }
    return BiasList(found.about, words, pairs, dict(found.sets))


def shipped_lists() -> list[str]:
    """Return the names of the lists that ship with xalign.

    Example:
        >>> shipped_lists()
        ['flowers_and_insects', 'kin_and_work']
    """
    return sorted(
        path.name.removesuffix(".toml") for path in files("xalign.bias").joinpath("lists").iterdir()
    )


def checked_pairs(pairs: Pairs) -> dict[str, list[tuple[str, str]]]:
    """Return sentence pairs as lists, or raise an error that names the language.

    Raises:
        ArgumentTypeError: Anything but two texts per pair.
        ArgumentError: No language, no pair, or a pair of equal sentences.
    """
    if not isinstance(pairs, Mapping) or not pairs:
        raise ArgumentTypeError(f"pairs must map languages to pairs of sentences, not be {pairs!r:.60}")
    found: dict[str, list[tuple[str, str]]] = {}
    for language, rows in pairs.items():
        found[language] = []
        for row in rows:
            if isinstance(row, str) or len(row) != 2 or not all(isinstance(one, str) for one in row):
                raise ArgumentTypeError(f"pairs[{language!r}] must hold pairs of sentences, not {row!r:.80}")
            if row[0] == row[1] or not row[0].strip() or not row[1].strip():
                raise ArgumentError(f"pairs[{language!r}] has a pair without a difference, or an empty text")
            found[language].append((row[0], row[1]))
        if not found[language]:
            raise ArgumentError(f"pairs[{language!r}] is empty; give at least one pair, or leave it out")
    return found


def _text_of(source: str | Path) -> str:
    if not isinstance(source, str | Path):
        raise ArgumentTypeError(f"source={source!r:.60} must be the name of a list or a path")
    if str(source) in shipped_lists():
        return files("xalign.bias").joinpath("lists", f"{source}.toml").read_text(encoding="utf-8")
    try:
        return Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, ValueError) as reason:
        raise ArgumentError(
            f"source={str(source)!r:.200} is neither one of {', '.join(shipped_lists())} nor a file that can "
            f"be read ({type(reason).__name__})"
        ) from None
