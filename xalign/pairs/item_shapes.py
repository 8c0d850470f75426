"""How the rows of known data sets become items. A shape is known by its fields."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from xalign.errors import PairsError
from xalign.pairs.item import Choice, MinimalPair, WordSense

Row = Mapping[str, Any]
Connectives = Mapping[str, tuple[str, str]]

CONNECTIVES: Connectives = {
    "eng_Latn": ("because", "therefore"),
    "est_Latn": ("sest", "seetõttu"),
    "hat_Latn": ("poukisa", "donk sa"),
    "ind_Latn": ("karena", "maka"),
    "ita_Latn": ("perché", "quindi"),
    "quy_Latn": ("imataq", "chaymi"),
    "swh_Latn": ("kwa sababu", "kwa hiyo"),
    "tam_Taml": ("காரணமாக", "எனவே"),
    "tha_Thai": ("เพราะ", "ดังนั้น"),
    "tur_Latn": ("çünkü", "bu yüzden"),
    "vie_Latn": ("bởi vì", "vì vậy"),
    "zho_Hans": ("因为", "所以"),
}
"""Language -> the words between premise and choice if a cause is asked for, and if an effect is."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A form of rows.

    Attributes:
        fields: The fields by which it is known.
        make: A function (row, language, connectives) -> item.
        is_aligned: Whether line i is the same item in all languages.
    """

    fields: frozenset[str]
    make: Callable[[Row, str, Connectives], Any]
    is_aligned: bool = True


def shape_of(row: Row, place: str) -> Shape:
    """Return the shape of a row.

    Raises:
        PairsError: It has the fields of no known shape.

    Example:
        >>> sorted(shape_of({"good": "he laughs", "bad": "he laugh"}, "line 1").fields)
        ['bad', 'good']
    """
    fitting = [shape for shape in SHAPES if shape.fields <= row.keys()]
    if not fitting:
        known = "; ".join(", ".join(sorted(shape.fields)) for shape in SHAPES)
        raise PairsError(
            f"{place} has the fields {', '.join(map(str, row))}, and items are known by: {known}; rename them"
        )
    return max(fitting, key=lambda shape: len(shape.fields))


def id_of(row: Row) -> str | None:
    """Return the identifier of a row, where it has one."""
    found = next((row[name] for name in ("id", "story_id", "idx", "concept") if name in row), None)
    return None if found is None else str(found)


def _choice(row: Row, language: str, connectives: Connectives) -> Choice:  # noqa: ARG001
    return Choice(row["context"], row["options"], row.get("gold"))


def _passage(row: Row, language: str, connectives: Connectives) -> Choice:  # noqa: ARG001
    return Choice(row["passage_question"], row["options"], row.get("gold"))


def _belebele(row: Row, language: str, connectives: Connectives) -> Choice:  # noqa: ARG001
    options = tuple(row[f"mc_answer{number}"] for number in range(1, 5))
    gold = row.get("correct_answer_num")
    return Choice(
        f"{row['flores_passage']} {row['question']}", options, None if gold is None else int(gold) - 1
    )


def _story(row: Row, language: str, connectives: Connectives) -> Choice:  # noqa: ARG001
    return Choice(row["context"], (row["ending1"], row["ending2"]), row.get("label"))


def _story_cloze(row: Row, language: str, connectives: Connectives) -> Choice:  # noqa: ARG001
    context = " ".join(row[f"input_sentence_{number}"] for number in range(1, 5))
    gold = row.get("answer_right_ending")
    return Choice(
        context, (row["sentence_quiz1"], row["sentence_quiz2"]), None if gold is None else int(gold) - 1
    )


def _copa(row: Row, language: str, connectives: Connectives) -> Choice:
    """Join as lm-evaluation-harness does: the premise without full stop, the connective, a small letter."""
    if language not in connectives:
        raise PairsError(
            f"COPA in {language} needs the words before the choice, for causes and for effects: pass "
            f"connectives={{'{language}': ('because', 'therefore')}}"
        )
    asked = ("cause", "effect")
    if row["question"] not in asked:
        raise PairsError(f"question={row['question']!r:.40} must be 'cause' or 'effect'")
    premise = row["premise"].strip()
    premise = premise[:-1] if premise and not premise[-1].isalnum() else premise
    word = connectives[language][asked.index(row["question"])]
    options = tuple(one[:1].lower() + one[1:] for one in (row["choice1"].strip(), row["choice2"].strip()))
    return Choice(f"{premise} {word}", options, row.get("label"))


def _minimal_pair(row: Row, language: str, connectives: Connectives) -> MinimalPair:  # noqa: ARG001
    phenomenon = row.get("phenomenon", row.get("construction", ""))
    return MinimalPair(row["good"], row["bad"], phenomenon, row.get("group", ""))


def _blimp(row: Row, language: str, connectives: Connectives) -> MinimalPair:  # noqa: ARG001
    return MinimalPair(row["sentence_good"], row["sentence_bad"], row.get("UID", ""))


def _words(row: Row, language: str, connectives: Connectives) -> WordSense:  # noqa: ARG001
    return WordSense(str(row["sense"]), row["words"], row.get("contexts", ()))


SHAPES = (
    Shape(frozenset({"context", "options"}), _choice),
    Shape(frozenset({"context", "ending1", "ending2"}), _story),
    Shape(
        frozenset({"input_sentence_1", "input_sentence_4", "sentence_quiz1", "sentence_quiz2"}), _story_cloze
    ),
    Shape(frozenset({"premise", "choice1", "choice2", "question"}), _copa),
    Shape(frozenset({"passage_question", "options"}), _passage),
    Shape(frozenset({"flores_passage", "question", "mc_answer1", "mc_answer4"}), _belebele),
    Shape(frozenset({"good", "bad"}), _minimal_pair),
    Shape(frozenset({"good", "bad", "construction"}), _minimal_pair, is_aligned=False),
    Shape(frozenset({"sentence_good", "sentence_bad"}), _blimp, is_aligned=False),
    Shape(frozenset({"sense", "words"}), _words),
)
