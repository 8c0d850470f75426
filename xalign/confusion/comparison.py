"""`compare_answers`: answers to the same prompts without an edit and with it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xalign.checks import boolean
from xalign.confusion.answers import Prompt, checked_prompts
from xalign.confusion.cleaning import LEAST, Tokens, word_tokens
from xalign.confusion.rates import ALL, Answer, Confusion, Judged, language_confusion
from xalign.errors import ArgumentError
from xalign.judging.identify import Identify
from xalign.languages import normalize_language
from xalign.statistics.intervals import RESAMPLES

FLIPS = {(False, True): "mended", (True, False): "broken", (True, True): "right", (False, False): "wrong"}
"""(passes before, passes after) -> what became of an answer. One without a judged line does not pass."""


@dataclass(frozen=True, slots=True)
class Change:
    """What an edit did to the line pass rate.

    Attributes:
        before: The rate without the edit.
        after: The rate with it.
        low: The lower end of the 95 % interval of after − before: a paired bootstrap over prompts, within
            each source and language.
        high: The upper end.
        kept: How many answers were judged, before and after. An edit that silences a model raises the rate.
        prompts: The number of prompts.
    """

    before: float
    after: float
    low: float
    high: float
    kept: tuple[int, int]
    prompts: int

    @property
    def difference(self) -> float:
        """After minus before."""
        return self.after - self.before


@dataclass(frozen=True)
class Comparison:
    """Answers without an edit and with it, as `compare_answers` returns them.

    Attributes:
        prompts: The prompts.
        before: What was found without the edit.
        after: What was found with it, in the same order.
    """

    prompts: tuple[Prompt, ...]
    before: Confusion
    after: Confusion

    def flips(self) -> list[str]:
        """Return what became of each answer: `right`, `wrong`, `mended` or `broken`.

        An answer of which no line is judged counts as wrong.
        """
        pairs = zip(self.before.judged, self.after.judged, strict=True)
        return [FLIPS[one.passes, other.passes] for one, other in pairs]

    def change(
        self, language: str = ALL, source: str = ALL, *, silent_fails: bool = False, seed: int = 0
    ) -> Change:
        """Return by how much the line pass rate changed, with its interval over prompts.

        Args:
            language: A language; the mean over languages by default.
            source: A source; the mean over sources by default.
            silent_fails: Count answers without a judged line as wrong, instead of leaving them out.
            seed: The same seed gives the same interval.

        Raises:
            ArgumentError: There is no such prompt.
        """
        boolean("silent_fails", silent_fails)
        code = language if language == ALL else normalize_language(language)
        groups: dict[str, dict[str, list[tuple[Judged, Judged]]]] = {}
        for one, other in zip(self.before.judged, self.after.judged, strict=True):
            if code in (ALL, one.answer.language) and source in (ALL, one.answer.source):
                of_language = groups.setdefault(one.answer.language, {})
                of_language.setdefault(one.answer.source, []).append((one, other))
        if not groups:
            raise ArgumentError(f"no prompt of language={language!r} and source={source!r}")
        draw = np.random.default_rng(seed)
        sides = np.mean(
            [
                np.mean([_both(group, silent_fails, draw) for group in of_language.values()], axis=0)
                for of_language in groups.values()
            ],
            axis=0,
        )
        low, high = np.quantile(sides[1, 1:] - sides[0, 1:], [0.025, 0.975])
        pairs = [pair for of_language in groups.values() for group in of_language.values() for pair in group]
        kept = (sum(one.is_kept for one, _ in pairs), sum(other.is_kept for _, other in pairs))
        return Change(float(sides[0, 0]), float(sides[1, 0]), float(low), float(high), kept, len(pairs))

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a row per language, then their mean."""
        languages = sorted({one.language for one in self.prompts})
        rows = []
        for code in [*languages, ALL]:
            found = self.change(code)
            rows.append(
                {
                    **{"language": code, "before": found.before, "after": found.after},
                    **{"difference": found.difference, "low": found.low, "high": found.high},
                    **{"kept_before": found.kept[0], "kept_after": found.kept[1], "prompts": found.prompts},
                }
            )
        return rows


def compare_answers(
    prompts: Sequence[Prompt],
    before: Sequence[str],
    after: Sequence[str],
    identify: Identify,
    *,
    words: Collection[str] | None = None,
    tokens: Tokens = word_tokens,
    least: int = LEAST,
) -> Comparison:
    """Judge answers to the same prompts without an edit and with it.

    Args:
        prompts: The prompts.
        before: The answers without the edit, one per prompt.
        after: The answers with it.
        identify: As in `language_confusion`.
        words: As in `language_confusion`.
        tokens: As in `language_confusion`.
        least: As in `language_confusion`.

    Raises:
        ArgumentError: Another number of answers than prompts, or as `language_confusion`.

    Example:
        >>> from xalign.judging import identify_language
        >>> prompts = [Prompt("Wie wird das Wetter?", "de"), Prompt("Wer bist du?", "de")]
        >>> before = ["It will rain all day long.", "I am a model of language."]
        >>> after = ["Es wird den ganzen Tag regnen.", "I am a model of language."]
        >>> compare_answers(prompts, before, after, identify_language).change("de").difference
        0.5
    """
    prompts = tuple(checked_prompts(prompts))
    judged = []
    for name, given in (("before", before), ("after", after)):
        if len(given) != len(prompts):
            raise ArgumentError(
                f"{name} holds {len(given)} answers, and prompts {len(prompts)}; give as many"
            )
        answers = [Answer(text, one.language, one.source) for text, one in zip(given, prompts, strict=True)]
        judged.append(language_confusion(answers, identify, words=words, tokens=tokens, least=least))
    return Comparison(prompts, *judged)


def _both(
    group: Sequence[tuple[Judged, Judged]], silent_fails: bool, draw: np.random.Generator
) -> NDArray[np.float64]:
    """Return the rates before and after, [2, 1 + resample]: as observed, then of resampled prompts."""
    n = len(group)
    rows = np.concatenate([np.arange(n)[None], draw.integers(0, n, size=(RESAMPLES, n))])
    sides = []
    for side in (0, 1):
        counts = np.array([silent_fails or pair[side].is_kept for pair in group], dtype=float)
        fails = np.array([not pair[side].passes for pair in group], dtype=float) * counts
        sides.append(1 - fails[rows].sum(axis=1) / np.maximum(1, counts[rows].sum(axis=1)))
    return np.stack(sides)
