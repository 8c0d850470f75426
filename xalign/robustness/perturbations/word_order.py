"""Another order: the words of a sentence change places."""

from xalign.robustness.perturbations.perturbation import Given, Perturbation
from xalign.robustness.script import pieces

_FEWEST = 3
_LETTERS = 2  # of a piece, where no spaces tell words


def shuffle_words(given: Given) -> str | None:
    """Shuffle the words of a sentence; punctuation and numbers stay. None where there are fewer than three.

    Text without spaces is shuffled in pieces of two letters.

    Example:
        >>> import random
        >>> shuffle_words(Given("The dog bites him, today.", "eng_Latn", "", (), random.Random(0)))
        'him today The dog, bites.'
    """
    text, spans = given.sentence, pieces(given.sentence, _LETTERS)
    words = [text[start:end] for start, end in spans]
    if len(words) < _FEWEST or len(set(words)) < 2:
        return None
    shuffled = words
    while shuffled == words:
        shuffled = given.random.sample(words, len(words))
    parts, at = [], 0
    for (start, end), word in zip(spans, shuffled, strict=True):
        parts += [text[at:start], word]
        at = end
    return "".join(parts) + text[at:]


WORD_ORDER = Perturbation("word_order", shuffle_words, keeps_meaning=False)
