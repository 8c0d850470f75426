"""The words of Babel: about 160 concepts with their forms in five languages, from `lexicon/*.tsv`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

LANGUAGES = {"eng": "eng_Latn", "spa": "spa_Latn", "deu": "deu_Latn", "rus": "rus_Cyrl", "zho": "zho_Hans"}

# The ending of "ein" and "kein" in the German accusative: masculine, feminine, neuter and plural.
_ENDINGS = {"m": "en", "f": "e", "n": "", "p": "e"}


@dataclass(frozen=True)
class Concept:
    """Something that can be said in every language.

    Attributes:
        name: An English word.
        forms: Language code -> name of the form -> words, separated by spaces even in Chinese.
        gender: For agents, `m` or `f`; past tenses and relative pronouns agree with it.
        domain: For agents and objects, `food`, `travel` or `work`.
        kind: For times, the tense that they go with: `habit`, `past` or `future`.
        prefers: Concepts that it usually goes with, the most likely first: `actions` and `places` of an
            agent, `objects` of an action.
    """

    name: str
    forms: Mapping[str, Mapping[str, str]]
    gender: str = ""
    domain: str = ""
    kind: str = ""
    prefers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Lexicon:
    """All concepts by category. Each category maps names to concepts."""

    agents: Mapping[str, Concept]
    actions: Mapping[str, Concept]
    objects: Mapping[str, Concept]
    places: Mapping[str, Concept]
    times: Mapping[str, Concept]
    reasons: Mapping[str, Concept]

    def __len__(self) -> int:
        """Return the number of concepts."""
        return sum(len(category) for category in vars(self).values())

    def words(self) -> dict[str, set[str]]:
        """Return language code -> all words of all forms, in lower case."""
        found: dict[str, set[str]] = {code: set() for code in LANGUAGES.values()}
        for category in vars(self).values():
            for concept in category.values():
                for code, forms in concept.forms.items():
                    found[code].update(word.lower() for text in forms.values() for word in text.split())
        return found

    def content_words(self) -> dict[str, set[str]]:
        """Return language code -> all words but function words such as articles and prepositions.

        `lexicon/function_words.tsv` lists the function words.
        """
        functional = {
            LANGUAGES[row["language"]]: set(row["words"].split()) for row in _rows("function_words")
        }
        return {code: words - functional[code] for code, words in self.words().items()}


@cache
def load_lexicon() -> Lexicon:
    """Read the lexicon that ships with the package."""
    return Lexicon(
        agents={
            row["concept"]: _concept(row, actions=row["actions"], places=row["places"])
            for row in _rows("agents")
        },
        actions={row["concept"]: _concept(row, _verb, objects=row["objects"]) for row in _rows("actions")},
        objects={row["concept"]: _concept(row, _object) for row in _rows("objects")},
        places={row["concept"]: _concept(row) for row in _rows("places")},
        times={row["concept"]: _concept(row) for row in _rows("times")},
        reasons={row["concept"]: _concept(row, _reason) for row in _rows("reasons")},
    )


def _rows(name: str) -> list[dict[str, str]]:
    text = files("xalign.babel").joinpath("lexicon", f"{name}.tsv").read_text(encoding="utf-8")
    header, *lines = (line.split("\t") for line in text.splitlines())
    return [dict(zip(header, line, strict=True)) for line in lines]


def _plain(_: str, cell: str) -> dict[str, str]:
    return {"": cell}


def _concept(
    row: dict[str, str], forms_of: Callable[[str, str], dict[str, str]] = _plain, **prefers: str
) -> Concept:
    return Concept(
        name=row["concept"],
        forms={code: forms_of(short, row[short]) for short, code in LANGUAGES.items()},
        gender=row.get("gender", ""),
        domain=row.get("domain", ""),
        kind=row.get("kind", ""),
        prefers={name: tuple(cell.split(", ")) for name, cell in prefers.items()},
    )


def _verb(short: str, cell: str) -> dict[str, str]:
    """Return the forms of a verb. A cell holds infinitive / present / past.

    Russian cells begin with the imperfective and have a past for each gender. Chinese cells hold one form.
    """
    if short == "zho":
        imperfective = infinitive = present = past_m = past_f = cell
    elif short == "rus":
        imperfective, infinitive, present, past_m, past_f = cell.split(" / ")
    else:
        infinitive, present, past = cell.split(" / ")
        imperfective, past_m, past_f = infinitive, past, past
    return {
        "infinitive": infinitive,
        "imperfective": imperfective,
        "present": present,
        "past_m": past_m,
        "past_f": past_f,
    }


def _object(short: str, cell: str) -> dict[str, str]:
    """Return the two forms of an object: in the accusative, and as the object of a negated verb."""
    if short == "deu":
        article, noun, gender = cell.split()
        ending = _ENDINGS[gender]
        return {"": noun if article == "-" else f"ein{ending} {noun}", "negated": f"kein{ending} {noun}"}
    if short == "zho":
        return {"": cell, "negated": cell.split()[-1]}
    return {"": cell, "negated": cell}


def _reason(_: str, cell: str) -> dict[str, str]:
    present, past = cell.split(" / ")
    return {"present": present, "past": past}
