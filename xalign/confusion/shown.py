"""What the page of language confusion shows of rates and answers."""

from collections import Counter

from xalign.confusion.comparison import Comparison
from xalign.confusion.points import ConfusionPoint
from xalign.confusion.rates import ALL, Confusion, Judged
from xalign.confusion.trial import Trial
from xalign.views.confusion_page import ShownAnswer, ShownRate


def shown_rates(judged: Confusion, comparison: Comparison | None = None) -> list[ShownRate]:
    """Return the rate of each language and their mean, with what an edit changed.

    Args:
        judged: The rates without an edit.
        comparison: The answers with it; None without one.

    Example:
        >>> from xalign.confusion import Answer, language_confusion
        >>> judged = language_confusion([Answer("Das ist ein Satz, oder?", "de")], lambda line: "deu_Latn")
        >>> [(rate.language, rate.before, rate.judged) for rate in shown_rates(judged)]
        [('deu_Latn', 1.0, '1 of 1'), ('all', 1.0, '1 of 1')]
    """
    languages = sorted({one.answer.language for one in judged.judged})
    rows = []
    for code in [*languages, ALL]:
        rate = judged.rate(code)
        change = None if comparison is None else comparison.change(code)
        kept = f"{rate.kept} of {rate.answers}"
        rows.append(
            ShownRate(
                language=code,
                before=rate.lpr,
                judged=kept if change is None else f"{kept}, {change.kept[1]} with the edit",
                most_wrong=rate.most_wrong or "",
                wpr=rate.wpr,
                after=None if change is None else change.after,
                low=None if change is None else change.low,
                high=None if change is None else change.high,
            )
        )
    return rows


def shown_answers(judged: Confusion, trial: Trial | None = None) -> list[ShownAnswer]:
    """Return the answers, with their prompts and what an edit made of them where a model was tried.

    Args:
        judged: What was found in each answer.
        trial: Where the answers come from; None for answers alone.

    Example:
        >>> from xalign.confusion import Answer, language_confusion
        >>> judged = language_confusion([Answer("Das ist ein Satz, oder?", "de")], lambda line: "eng_Latn")
        >>> [(one.flip, one.found) for one in shown_answers(judged)]
        [('wrong', 'eng_Latn')]
    """
    if trial is None:
        return [
            ShownAnswer(one.answer.language, "", one.answer.text, _found(one), _alone(one))
            for one in judged.judged
        ]
    after = None if trial.comparison is None else trial.comparison.after.judged
    slips = trial.edited_points or [None] * len(trial.prompts)
    rows = []
    for row, one in enumerate(judged.judged):
        rows.append(
            ShownAnswer(
                language=one.answer.language,
                prompt=trial.prompts[row].text,
                answer=one.answer.text,
                found=_found(one),
                flip=trial.flips[row],
                point=_parts(trial.points[row]),
                edited=None if after is None else after[row].answer.text,
                edited_found="" if after is None else _found(after[row]),
                edited_point=_parts(slips[row]),
            )
        )
    return rows


def _parts(point: ConfusionPoint | None) -> tuple[str, str, str] | None:
    return None if point is None else (point.before, point.token, point.after)


def _alone(one: Judged) -> str:
    return "right" if one.passes else "wrong"


def _found(one: Judged) -> str:
    """Say in which languages the judged lines are, the most frequent first."""
    if not one.is_kept:
        return "no line is long enough"
    counts = Counter(one.languages).most_common()
    return ", ".join(code if count == 1 else f"{code} × {count}" for code, count in counts)
