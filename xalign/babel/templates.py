"""The sentence templates of Babel, from `templates.toml`."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from xalign.babel.lexicon import LANGUAGES

TIMES = {"habit": "habit", "past": "past", "wish": "future", "duty": "future"}
"""Tense -> the kind of time that goes with it."""

OPTIONAL_SLOTS = ("witness", "place", "time", "reason")
SLOT = re.compile(r"\{([^}]*)\}")


@dataclass(frozen=True)
class Template:
    """One sentence pattern, written in every language.

    Attributes:
        name: What a `Meaning` calls it.
        act: The speech act: `state`, `inquire`, `deny`, `explain`, `report` or `single_out`.
        tense: `habit`, `past`, `wish` or `duty`.
        patterns: Language code -> sentence with slots in braces.
        slots: Which of `witness`, `place`, `time` and `reason` it has. All templates have agent, action and
            object.
    """

    name: str
    act: str
    tense: str
    patterns: Mapping[str, str]
    slots: tuple[str, ...]


@cache
def load_templates() -> dict[str, Template]:
    """Read the templates that ship with the package, by name."""
    tables = tomllib.loads(files("xalign.babel").joinpath("templates.toml").read_text(encoding="utf-8"))
    return {
        name: Template(
            name=name,
            act=table["act"],
            tense=table["tense"],
            patterns={code: table[short] for short, code in LANGUAGES.items()},
            slots=tuple(slot for slot in OPTIONAL_SLOTS if f"{{{slot}}}" in table["eng"]),
        )
        for name, table in tables.items()
    }


def function_words() -> dict[str, set[str]]:
    """Return language code -> the words and punctuation marks that the patterns themselves contain."""
    found: dict[str, set[str]] = {code: set() for code in LANGUAGES.values()}
    for template in load_templates().values():
        for code, pattern in template.patterns.items():
            choices = [slot.split("|") for slot in SLOT.findall(pattern) if "|" in slot]
            text = " ".join([SLOT.sub(" ", pattern), *(word for choice in choices for word in choice)])
            found[code].update(re.findall(r"\w+|[^\w\s]", text.lower()))
    return found
