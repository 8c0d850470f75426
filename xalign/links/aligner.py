"""`Aligner`: a way to link the tokens of translations, with its name and options."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from xalign.checks import function_of
from xalign.errors import ArgumentError, ArgumentTypeError, PairsError
from xalign.links.cells import Sentence

Links = list[list[tuple[int, int]]]
"""Per pair, links of a position in one sentence with a position in its translation, in order."""


@dataclass(frozen=True, slots=True)
class OneWay:
    """Links in one direction: each target token has at most one.

    Attributes:
        links: Per pair, (source position, target position).
        scores: Per pair, the negative mean log-probability of its target tokens; the lower the better.
    """

    links: Links
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Aligner:
    """A way to link tokens, beside its function. One line in `ALIGNERS` makes it known by name.

    Attributes:
        name: The name that users type; it is part of the names of scores, like `alignability_ibm1`.
        fn: The function: (language sentences, pivot sentences, **options) -> two `OneWay`, both with links
            (language position, pivot position). In the first each pivot token has at most one link, in the
            second each token of the language.
        summary: One line for help texts.
        options: The names of its options.

    Raises:
        ArgumentError: A name that is not a word.
        ArgumentTypeError: `fn` is not such a function.
    """

    name: str
    fn: Callable[..., tuple[OneWay, OneWay]]
    summary: str = ""
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse an aligner that cannot be called by its name."""
        if not isinstance(self.name, str) or not self.name.isidentifier():
            raise ArgumentError(f"name={self.name!r:.60} must be a word of letters, digits and _")
        function_of(f"the function of aligner {self.name}", self.fn, "language", "pivot", more=True)


def turned(one: OneWay) -> OneWay:
    """Return links with both sides exchanged."""
    links = [sorted((target, source) for source, target in pair) for pair in one.links]
    return OneWay(links, one.scores)


def check_sides(one: Sequence[Sentence], other: Sequence[Sentence]) -> None:
    """Raise an error for sides that cannot be linked.

    Raises:
        PairsError: Sides of unequal length, no pair, or a sentence without tokens.
        ArgumentTypeError: A sentence that is a text, whose letters would count as tokens.
    """
    if any(isinstance(sentence, str) for side in (one, other) for sentence in side):
        raise ArgumentTypeError(
            "sentences must be lists of tokens, not texts; split them first, with a tokenizer or text.split()"
        )
    if len(one) != len(other):
        raise PairsError(
            f"one side has {len(one)} sentences and the other {len(other)}; row i of both must be a pair"
        )
    if not len(one):
        raise PairsError("there are no pairs to link; give at least one")
    empty = [row for row, sides in enumerate(zip(one, other, strict=True)) if not all(map(len, sides))]
    if empty:
        raise PairsError(
            f"pair(s) {', '.join(map(str, empty[:5]))} have a side without tokens, which cannot be linked; "
            "leave them out"
        )
