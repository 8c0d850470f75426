"""Other numbers: each run of digits becomes another one of as many digits."""

import re
import unicodedata

from xalign.robustness.perturbations.perturbation import Given, Perturbation

_DIGITS = re.compile(r"\d+")


def change_numbers(given: Given) -> str | None:
    """Replace each number by another of equal length, in the same kind of digits; None if there is none.

    Digits of every script are numbers. Numbers in words, and Chinese numerals, are left unchanged.

    Example:
        >>> import random
        >>> given = Given("In 1969, ٣ men.", "eng_Latn", "", (), random.Random(0))
        >>> changed = change_numbers(given)
        >>> len(changed) == len(given.sentence), "1969" in changed, "٣" in changed
        (True, False, False)
    """

    def other(match: re.Match[str]) -> str:
        digits = [unicodedata.digit(one) for one in match.group()]
        zeros = [chr(ord(one) - digit) for one, digit in zip(match.group(), digits, strict=True)]
        drawn = digits
        while drawn == digits:
            first = 1 if digits[0] and len(digits) > 1 else 0  # 1969 stays a number of four digits
            drawn = [given.random.randint(first if place == 0 else 0, 9) for place in range(len(digits))]
        return "".join(chr(ord(zero) + digit) for zero, digit in zip(zeros, drawn, strict=True))

    changed = _DIGITS.sub(other, given.sentence)
    return None if changed == given.sentence else changed


NUMBERS = Perturbation("numbers", change_numbers, keeps_meaning=False)
