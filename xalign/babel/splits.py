"""Splits of the meanings: each meaning has a number, and its number puts it into exactly one split."""

import random
from dataclasses import dataclass
from functools import cache
from math import gcd, prod

from xalign.babel.lexicon import load_lexicon
from xalign.babel.meanings import Meaning, draw_meanings
from xalign.babel.templates import TIMES, load_templates
from xalign.checks import whole_number
from xalign.errors import ArgumentError

SPLITS = {"train": (0, 8), "held_out": (8, 9), "task": (9, 10)}
"""Split -> the part of all meanings that belongs to it, from and to, in tenths."""


def take_meanings(n: int, seed: int, split: str = "train") -> list[Meaning]:
    """Draw n different meanings of one split.

    Args:
        n: How many, at most `count_meanings(split)`. If random drawing finds too few new ones, the rest are
            taken in a fixed order.
        seed: The same seed gives the same meanings.
        split: `train` to train the models and the transfer task, `held_out` to measure, `task` to test the
            transfer task.

    Raises:
        ArgumentError: The split is unknown, or n is larger than the number of its meanings.
        ArgumentTypeError: n or the seed is not a whole number.

    Example:
        >>> first, second = take_meanings(2, seed=0, split="held_out")
        >>> split_of(first)
        'held_out'
    """
    n, seed = whole_number("n", n, least=1), whole_number("seed", seed)
    available = count_meanings(split)
    if n > available:
        raise ArgumentError(f"n={n} is more than the {available} meanings of split={split!r}")
    taken: dict[Meaning, None] = {}
    stream = draw_meanings(random.Random(f"{split} {seed}"))
    for _ in range(1000 + 100 * n):
        if len(taken) == n:
            break
        meaning = next(stream)
        if split_of(meaning) == split:
            taken[meaning] = None
    unstride = pow(_stride(), -1, count_meanings())
    for position in _positions(split):
        if len(taken) == n:
            break
        taken[meaning_of(position * unstride % count_meanings())] = None
    return list(taken)


def count_meanings(split: str | None = None) -> int:
    """Count the meanings of one split, or of all splits."""
    if split is None:
        return sum(numbering.size for numbering in _numberings().values())
    if split not in SPLITS:
        raise ArgumentError(f"split={split!r} must be one of {', '.join(SPLITS)}")
    return len(_positions(split))


def split_of(meaning: Meaning) -> str:
    """Return the split of a meaning: `train`, `held_out` or `task`."""
    position = number_of(meaning) * _stride() % count_meanings()
    return next(split for split in SPLITS if position in _positions(split))


def number_of(meaning: Meaning) -> int:
    """Return the number of a meaning, from 0 to `count_meanings() - 1`."""
    numbering, agents = _numberings()[meaning.template], _agents()
    number = 0
    for slot, places in numbering.places.items():
        if slot == "deed":
            value = _deed(meaning.action, meaning.object)
        elif slot == "witness":
            value = str((agents[str(meaning.witness)] - agents[meaning.agent]) % len(agents))
        else:
            value = getattr(meaning, slot)
        number = number * len(places) + places[value]
    return numbering.start + number


def meaning_of(number: int) -> Meaning:
    """Return the meaning with a number: the inverse of `number_of`."""
    template, numbering = next(
        (name, numbering)
        for name, numbering in _numberings().items()
        if numbering.start <= number < numbering.start + numbering.size
    )
    number -= numbering.start
    values: dict[str, str] = {}
    for slot, places in reversed(numbering.places.items()):
        number, place = divmod(number, len(places))
        values[slot] = list(places)[place]
    action, thing = values.pop("deed").split("\t")
    if "witness" in values:
        agents = list(_agents())
        values["witness"] = agents[(agents.index(values["agent"]) + int(values["witness"])) % len(agents)]
    return Meaning(template, action=action, object=thing, **values)


@dataclass(frozen=True)
class _Numbering:
    """How the meanings of a template are numbered: their first number, and slot -> value -> place."""

    start: int
    places: dict[str, dict[str, int]]

    @property
    def size(self) -> int:
        return prod(map(len, self.places.values()))


@cache
def _numberings() -> dict[str, _Numbering]:
    lexicon = load_lexicon()
    found, start = {}, 0
    for template in load_templates().values():
        values: dict[str, list[str]] = {
            "agent": list(lexicon.agents),
            "deed": [
                _deed(name, thing)
                for name, action in lexicon.actions.items()
                for thing in action.prefers["objects"]
            ],
            # The distance of the witness from the agent in the list of agents; never 0, as they differ.
            "witness": [str(distance) for distance in range(1, len(lexicon.agents))],
            "place": list(lexicon.places),
            "time": [name for name, time in lexicon.times.items() if time.kind == TIMES[template.tense]],
            "reason": list(lexicon.reasons),
        }
        slots = ("agent", "deed", *template.slots)
        places = {slot: {value: place for place, value in enumerate(values[slot])} for slot in slots}
        found[template.name] = _Numbering(start, places)
        start += found[template.name].size
    return found


def _deed(action: str, thing: str) -> str:
    return f"{action}\t{thing}"


@cache
def _agents() -> dict[str, int]:
    return {name: place for place, name in enumerate(load_lexicon().agents)}


@cache
def _positions(split: str) -> range:
    low, high = (-(-tenths * count_meanings() // 10) for tenths in SPLITS[split])
    return range(low, high)


@cache
def _stride() -> int:
    """Return a factor that spreads neighbouring numbers over all splits.

    It is near the golden ratio times the number of meanings, and coprime to it, so that it can be inverted.
    """
    total = count_meanings()
    return next(stride for stride in range(int(total * 0.618), total) if gcd(stride, total) == 1)
