"""`language_confusion`: how many answers are in the wanted language, by line and by word."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from xalign.checks import function_of, whole_number
from xalign.confusion.cleaning import LEAST, Tokens, clean, word_tokens
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.escape import cell
from xalign.judging.identify import Identify, check_known
from xalign.languages import normalize_language

if TYPE_CHECKING:
    from rich.table import Table

ALL = "all"
_LATIN = "_Latn"  # the script of English, in which its words do not stand out


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to judge.

    Attributes:
        text: The answer alone, without the prompt.
        language: The language that it should be in, in any spelling; kept as `deu_Latn`.
        source: Which collection the prompt is from; averages are taken per source.

    Raises:
        ArgumentError: The language is unknown, or ambiguous, or the source is `"all"`.
        ArgumentTypeError: A text that is not a string.
    """

    text: str
    language: str
    source: str = ""

    def __post_init__(self) -> None:
        """Check types, and convert the language."""
        for name in ("text", "source"):
            if not isinstance(getattr(self, name), str):
                raise ArgumentTypeError(f"{name}={getattr(self, name)!r:.60} must be text")
        if self.source == ALL:
            raise ArgumentError(f"source={ALL!r} is the name of the averages; give another")
        object.__setattr__(self, "language", normalize_language(self.language))


@dataclass(frozen=True, slots=True)
class Judged:
    """What was found in an answer.

    Attributes:
        answer: The answer.
        lines: Its lines that are long enough, cleaned.
        languages: The language of each, or `"und"`.
        words: The English words in them; None where none were looked for.
    """

    answer: Answer
    lines: tuple[str, ...]
    languages: tuple[str, ...]
    words: tuple[str, ...] | None

    @property
    def is_kept(self) -> bool:
        """Whether it has a line that is long enough."""
        return bool(self.lines)

    @property
    def wrong(self) -> int:
        """The number of lines that are not in the wanted language."""
        return sum(one != self.answer.language for one in self.languages)

    @property
    def passes(self) -> bool:
        """Whether it has such a line, and all of them are in the wanted language."""
        return self.is_kept and not self.wrong


@dataclass(frozen=True, slots=True)
class Rates:
    """The rates of some answers, or averages of such rates.

    Attributes:
        accuracy: The mean share of right lines.
        lpr: The line pass rate: the share of answers of which every line is in the wanted language.
        wpr: The word pass rate: of those, the share without an English word. None for languages in Latin
            script, where it says little, and without a word list.
        answers: How many answers there are.
        kept: How many have a line that is long enough. Only these count: without any, rates are 1.
        most_wrong: The language that most wrong lines are in, or None.
    """

    accuracy: float
    lpr: float
    wpr: float | None
    answers: int
    kept: int
    most_wrong: str | None


@dataclass(frozen=True)
class Confusion:
    """The rates of all answers, as `language_confusion` returns them.

    Attributes:
        judged: What was found in each answer, in their order.
        least: The fewest tokens of a line that is judged.
        has_words: Whether English words were looked for.
    """

    judged: tuple[Judged, ...]
    least: int
    has_words: bool

    @cached_property
    def rates(self) -> dict[tuple[str, str], Rates]:
        """(source, language) -> rates, with `"all"` for averages.

        The rates of a language are means over its sources, those of a source over its languages, and those of
        both over the rates of the languages.
        """
        groups: dict[tuple[str, str], list[Judged]] = {}
        for one in sorted(self.judged, key=lambda one: (one.answer.source, one.answer.language)):
            groups.setdefault((one.answer.source, one.answer.language), []).append(one)
        single = {key: _rates(group) for key, group in groups.items()}
        of_sources = {
            (source, ALL): _mean([rates for key, rates in single.items() if key[0] == source])
            for source in dict.fromkeys(source for source, _ in single)
        }
        of_languages = {
            (ALL, language): _mean([rates for key, rates in single.items() if key[1] == language])
            for language in sorted({language for _, language in single})
        }
        return single | of_sources | of_languages | {(ALL, ALL): _mean(list(of_languages.values()))}

    def rate(self, language: str = ALL, source: str = ALL) -> Rates:
        """Return the rates of a language, a source, or both; averages where not given.

        Raises:
            ArgumentError: There is no such answer.
        """
        code = language if language == ALL else normalize_language(language)
        if (source, code) not in self.rates:
            there = ", ".join(f"{one or '(none)'} {other}" for one, other in self.rates)
            raise ArgumentError(f"no answer of language={language!r} and source={source!r}; there is {there}")
        return self.rates[source, code]

    @property
    def notes(self) -> list[str]:
        """What a reader has to know about these rates."""
        silent = [f"{source} {code}".strip() for (source, code), one in self.rates.items() if not one.kept]
        found = []
        if silent:
            found.append(
                f"no answer has a line of {self.least} tokens, so that the rates of 1 say nothing, in: "
                + ", ".join(silent)
            )
        if not self.has_words:
            found.append("no word pass rate, because no list of English words was given")
        return found

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a row per source and language, then the averages."""
        return [
            {
                **{"source": source, "language": language, "accuracy": one.accuracy, "lpr": one.lpr},
                **{"wpr": one.wpr, "answers": one.answers, "kept": one.kept, "most_wrong": one.most_wrong},
            }
            for (source, language), one in self.rates.items()
        ]

    def table(self) -> "Table":
        """Return the rates as a rich table."""
        from rich.table import Table

        table = Table(box=None)
        for column in ("source", "language"):
            table.add_column(column)
        for column in ("LPR", "WPR", "lines right", "answers", "judged"):
            table.add_column(column, justify="right")
        table.add_column("wrong lines in")
        alone = len({one.answer.source for one in self.judged}) == 1  # then averages say the same again
        for row in self.to_rows():
            if alone and row["source"] != ALL:
                continue
            shown = ["–" if row[name] is None else f"{row[name]:.3f}" for name in ("lpr", "wpr", "accuracy")]
            counts = [str(row[name]) for name in ("answers", "kept")]
            where = cell(row["most_wrong"] or "")
            table.add_row(cell(row["source"]), cell(row["language"]), *shown, *counts, where)
        return table


def language_confusion(
    answers: Sequence[Answer],
    identify: Identify,
    *,
    words: Collection[str] | None = None,
    tokens: Tokens = word_tokens,
    least: int = LEAST,
) -> Confusion:
    """Judge whether answers are in the language that they should be in.

    An answer is cleaned, and its lines of at least `least` tokens are identified. The line pass rate (LPR) is
    the share of answers without a line in another language. The word pass rate (WPR) is the share of those
    answers that have no English word in them. Answers without a line of that length do not count.

    Args:
        answers: The answers with the language that each should be in.
        identify: From text to language code, such as `ManyLanguages()`. The paper uses fastText's lid.176,
            with `"und"` in place of languages below a probability of .3.
        words: English words, as `english_words` makes them of a list; without them, there is no WPR. A short
            list misses words, so that WPR is too high.
        tokens: A function (line, language) -> tokens. `word_tokens` says how it differs from the paper's.
        least: The fewest tokens of a line that is judged.

    Returns:
        Rates per source and language with averages, and what was found in each answer.

    Raises:
        ArgumentError: No answer, or a language that the identifier does not know.

    Reference:
        Marchisio et al. (2024), Understanding and Mitigating Language Confusion in LLMs, arXiv 2406.20052,
        and its code.

    Example:
        >>> from xalign.judging import LanguageIdentifier
        >>> identify = LanguageIdentifier(
        ...     {"deu_Latn": ["Das ist ein Satz auf Deutsch."], "eng_Latn": ["This sentence is in English."]}
        ... )
        >>> found = language_confusion(
        ...     [
        ...         Answer("Das ist ein guter Satz.", "deu_Latn"),
        ...         Answer("This is not in the language.", "deu_Latn"),
        ...     ],
        ...     identify,
        ... )
        >>> found.rate("deu_Latn").lpr, found.rate("deu_Latn").most_wrong
        (0.5, 'eng_Latn')
    """
    _check_answers(answers)
    function_of("identify", identify, "text")
    function_of("tokens", tokens, "line", "language")
    check_known(identify, sorted({one.language for one in answers}))
    least = whole_number("least", least, least=1)
    found = tuple(_judged(one, identify, words, tokens, least) for one in answers)
    return Confusion(found, least, words is not None)


def _check_answers(answers: object) -> None:
    if isinstance(answers, str | bytes) or not isinstance(answers, Sequence):
        raise ArgumentTypeError(f"answers={answers!r:.60} must be a list of Answer")
    for one in answers:
        if not isinstance(one, Answer):
            raise ArgumentTypeError(f"answers holds {one!r:.60}, which is no Answer")
    if not answers:
        raise ArgumentError("answers is empty; give at least one Answer to judge")


def _judged(
    answer: Answer, identify: Identify, words: Collection[str] | None, tokens: Tokens, least: int
) -> Judged:
    """Return what is found in an answer."""
    split = [(line, tokens(line, answer.language)) for line in clean(answer.text).split("\n")]
    kept = [(line, of_line) for line, of_line in split if len(of_line) >= least]
    languages = tuple(identify(line) for line, _ in kept)
    english = None
    if words is not None and not answer.language.endswith(_LATIN):
        english = tuple(word for _, of_line in kept for one in of_line if (word := one.strip()) in words)
    return Judged(answer, tuple(line for line, _ in kept), languages, english)


def _rates(group: Sequence[Judged]) -> Rates:
    """Return the rates of the answers of one source and language."""
    kept = [one for one in group if one.is_kept]
    passed = [one for one in kept if one.passes]
    shares = [1 - one.wrong / len(one.lines) for one in kept]
    counted = [bool(one.words) for one in passed if one.words is not None]
    has_wpr = all(one.words is not None for one in group)
    others = Counter(code for one in kept for code in one.languages if code != one.answer.language)
    return Rates(
        accuracy=sum(shares) / len(shares) if shares else 1.0,
        lpr=1 - (len(kept) - len(passed)) / max(1, len(kept)),
        wpr=1 - sum(counted) / max(1, len(passed)) if has_wpr else None,
        answers=len(group),
        kept=len(kept),
        most_wrong=others.most_common(1)[0][0] if others else None,
    )


def _mean(rates: Sequence[Rates]) -> Rates:
    """Return the mean of rates, and sums of their counts."""
    wprs = [one.wpr for one in rates if one.wpr is not None]
    others = Counter(one.most_wrong for one in rates if one.most_wrong is not None)
    return Rates(
        accuracy=sum(one.accuracy for one in rates) / len(rates),
        lpr=sum(one.lpr for one in rates) / len(rates),
        wpr=sum(wprs) / len(wprs) if wprs else None,
        answers=sum(one.answers for one in rates),
        kept=sum(one.kept for one in rates),
        most_wrong=others.most_common(1)[0][0] if others else None,
    )
