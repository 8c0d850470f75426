"""`Perturbation`: a way to change a sentence."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from xalign.checks import boolean, function_of
from xalign.errors import ArgumentError


@dataclass(frozen=True, slots=True)
class Given:
    """The input of a function that changes a sentence.

    Attributes:
        sentence: The sentence.
        language: Its language, like `deu_Latn`.
        translation: What stands on the other side of its pair.
        others: All sentences of its side with their translations, its own among them, in the order of the
            text.
        random: Draws what is random. It is seeded by the sentence, so that the same sentence is changed alike
            wherever it stands.
    """

    sentence: str
    language: str
    translation: str
    others: tuple[tuple[str, str], ...]
    random: random.Random


Change = Callable[[Given], str | None]


@dataclass(frozen=True, slots=True)
class Perturbation:
    """A way to change sentences, beside the function that does it. One line in `PERTURBATIONS` names it.

    Attributes:
        name: The name that users type.
        change: From what is `Given` to the changed sentence, or None where it cannot be changed.
        keeps_meaning: Whether the changed sentence means the same. If so, it replaces the sentence, and a
            robust model still aligns it. If not, it competes with the sentence, and a robust model still
            prefers the true translation.

    Raises:
        ArgumentError: A name that is no word.
        ArgumentTypeError: `change` is no function of one argument.

    Example:
        >>> import random
        >>> shout = Perturbation("shout", lambda given: given.sentence.upper(), keeps_meaning=True)
        >>> shout.change(Given("Hi!", "eng_Latn", "Hallo!", (("Hi!", "Hallo!"),), random.Random(0)))
        'HI!'
    """

    name: str
    change: Change
    keeps_meaning: bool

    def __post_init__(self) -> None:
        """Refuse what cannot be called or named."""
        if not isinstance(self.name, str) or not self.name.isidentifier():
            raise ArgumentError(f"name={self.name!r:.60} must be a word of letters, digits and _")
        function_of(f"change of {self.name!r}", self.change, "given")
        boolean("keeps_meaning", self.keeps_meaning)
