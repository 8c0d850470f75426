"""One test item of one language: a choice among options, a minimal pair, or the words of a sense."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from xalign.checks import whole_number
from xalign.errors import ArgumentTypeError, PairsError
from xalign.pairs.bitext import checked_sentences
from xalign.pairs.blank import is_blank


@dataclass(frozen=True, slots=True)
class Choice:
    """A choice task: a context, and options of which one continues it.

    Attributes:
        context: The text before the options: a story, a passage with its question, a premise.
        options: The options, at least two, no two of them equal.
        gold: The number of the right one, from 0; None where it is not known.

    Raises:
        PairsError: Fewer than two options, equal or empty ones, an empty context, or gold out of range.
        ArgumentTypeError: A value of another type.

    Example:
        >>> Choice("It rains.", ("I get wet.", "I fly."), gold=0).texts
        ('It rains. I get wet.', 'It rains. I fly.')
    """

    context: str
    options: tuple[str, ...]
    gold: int | None = None
    plural: ClassVar[str] = "choices"

    def __post_init__(self) -> None:
        """Check everything."""
        _shown("context", [self.context])
        object.__setattr__(self, "options", _shown("options", self.options))
        if len(self.options) < 2:  # noqa: PLR2004
            raise PairsError(f"an item has {len(self.options)} option(s); a choice needs at least two")
        if len({one.strip() for one in self.options}) < len(self.options):
            raise PairsError("two options of an item are equal; no model could tell them apart")
        if self.gold is not None and whole_number("gold", self.gold) >= len(self.options):
            raise PairsError(
                f"gold={self.gold} is out of range: the item has options 0 to {len(self.options) - 1}"
            )

    @property
    def texts(self) -> tuple[str, ...]:
        """The context followed by each option, after one space."""
        return tuple(f"{self.context} {option}" for option in self.options)

    @property
    def text(self) -> str:
        """All the text of the item, one part per line."""
        return "\n".join((self.context, *self.options))


@dataclass(frozen=True, slots=True)
class MinimalPair:
    r"""Two sentences that differ in one point, of which one is good.

    Attributes:
        good: The good sentence.
        bad: The bad one.
        phenomenon: What they differ in, like `"subj_rel"`.
        group: A name that is the same for pairs that exchanged words. A probe is never tested on a pair after
            training on another pair of its group. A pair without a name is a group by itself.

    Raises:
        PairsError: An empty sentence, or equal ones.
        ArgumentTypeError: A value of another type.

    Example:
        >>> MinimalPair("the author laughs", "the author laugh").text
        'the author laughs\nthe author laugh'
    """

    good: str
    bad: str
    phenomenon: str = ""
    group: str = ""
    plural: ClassVar[str] = "minimal pairs"

    def __post_init__(self) -> None:
        """Check everything."""
        _shown("sentences of a minimal pair", [self.good, self.bad])
        checked_sentences("phenomenon and group", [self.phenomenon, self.group])
        if self.good == self.bad:
            raise PairsError("both sentences of a minimal pair are equal")

    @property
    def text(self) -> str:
        """Both sentences, a line each."""
        return f"{self.good}\n{self.bad}"


@dataclass(frozen=True, slots=True)
class WordSense:
    """The words of a language for one sense.

    Attributes:
        sense: The name of the sense, the same in all languages.
        words: Its words, at least one, all different.
        contexts: Sentences that hold one of the words; may be empty.

    Raises:
        PairsError: No word, an empty or repeated one, or a context without any of the words.
        ArgumentTypeError: A value of another type.

    Example:
        >>> WordSense("I", ("ich",), ("Morgen gehe ich heim.",)).words
        ('ich',)
    """

    sense: str
    words: tuple[str, ...]
    contexts: tuple[str, ...] = ()
    plural: ClassVar[str] = "senses"

    def __post_init__(self) -> None:
        """Check everything."""
        _shown("sense", [self.sense])
        object.__setattr__(self, "words", _shown("words", self.words))
        object.__setattr__(self, "contexts", _shown("contexts", self.contexts))
        if not self.words or len(set(self.words)) < len(self.words):
            raise PairsError(f"a sense has {len(self.words)} word(s); it needs one or more, each another")
        for number, context in enumerate(self.contexts):
            if not any(word.casefold() in context.casefold() for word in self.words):
                raise PairsError(
                    f"context {number} of a sense holds none of its words; give the word as it stands"
                )

    @property
    def text(self) -> str:
        """Its words, a line each."""
        return "\n".join(self.words)


def _shown(name: str, texts: Sequence[str]) -> tuple[str, ...]:
    """Return texts as a tuple, and refuse those that show nothing."""
    if not isinstance(texts, Sequence):
        raise ArgumentTypeError(f"{name} must be a list of texts, not {type(texts).__name__}")
    checked = checked_sentences(name, texts)
    empty = [number for number, one in enumerate(checked) if is_blank(one)]
    if empty:
        raise PairsError(f"{name}: entry {empty[0]} is empty; fill it, or remove the item in every language")
    return checked
