"""`try_answers`: a model answers prompts without an edit and with it, and its slips are found."""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torch import nn
from transformers import PreTrainedTokenizerBase

from xalign.confusion.answers import Prompt, checked_prompts, greedy, shown
from xalign.confusion.cleaning import LEAST
from xalign.confusion.comparison import Comparison, compare_answers
from xalign.confusion.points import ENGLISH, ConfusionPoint, point_of
from xalign.confusion.rates import Answer, Confusion, language_confusion
from xalign.escape import cell
from xalign.judging.identify import Identify, check_known
from xalign.judging.sample import Sampled, continue_each

if TYPE_CHECKING:
    from rich.table import Table

Change = Callable[[str], AbstractContextManager[Any]]
"""From the wanted language to the context in which a prompt is answered, such as `steer(...)`."""


@dataclass(frozen=True, slots=True)
class TrialOptions:
    """How answers are made and judged.

    Attributes:
        identify: From a line to its language, as in `language_confusion`.
        of_tokens: From a single token to its language, as in `confusion_points`.
        words: English words, as in `language_confusion`.
        least: The fewest tokens of a line that is judged.
        chat: Put prompts into the chat template.
        max_new_tokens: The longest answer.
        stop: Ids of tokens that end an answer, besides the model's own.
        batch_size: The most prompts that are answered at once.
    """

    identify: Identify
    of_tokens: Identify
    words: Collection[str] | None = None
    least: int = LEAST
    chat: bool = False
    max_new_tokens: int = 100
    stop: tuple[int, ...] = ()
    batch_size: int = 32

    def judge(self, answers: Sequence[Answer]) -> Confusion:
        """Judge answers."""
        return language_confusion(answers, self.identify, words=self.words, least=self.least)

    def check(self, prompts: Sequence[Prompt]) -> None:
        """Raise an error for prompts in languages that the identifier does not know."""
        check_known(self.identify, sorted({one.language for one in checked_prompts(prompts)}))


@dataclass(frozen=True)
class Trial:
    """What came of prompts, as `try_answers` returns it.

    Attributes:
        prompts: The prompts.
        answers: The answers without the edit.
        points: Where each slips into English; None where it does not.
        before: The rates of these answers.
        edited: The answers with the edit; None without one.
        edited_points: Where each of these slips into English; None without an edit.
        comparison: Both, side by side; None without an edit.
        about: How it was done, as text.
    """

    prompts: tuple[Prompt, ...]
    answers: tuple[str, ...]
    points: tuple[ConfusionPoint | None, ...]
    before: Confusion
    edited: tuple[str, ...] | None = None
    edited_points: tuple[ConfusionPoint | None, ...] | None = None
    comparison: Comparison | None = None
    about: dict[str, str] = field(default_factory=dict)

    @cached_property
    def flips(self) -> list[str]:
        """What became of each answer: `right`, `wrong`, `mended` or `broken`."""
        if self.comparison is not None:
            return self.comparison.flips()
        return ["right" if one.passes else "wrong" for one in self.before.judged]

    def table(self) -> "Table":
        """Return what the edit changed, as a rich table; empty without an edit."""
        from rich.table import Table

        table = Table(box=None)
        table.add_column("language")
        for column in ("LPR before", "after", "change", "95 % interval", "judged before", "after", "of"):
            table.add_column(column, justify="right")
        for row in [] if self.comparison is None else self.comparison.to_rows():
            numbers = [f"{row['before']:.3f}", f"{row['after']:.3f}", f"{row['difference']:+.3f}"]
            numbers.append(f"{row['low']:+.3f} to {row['high']:+.3f}")
            counts = [str(row[name]) for name in ("kept_before", "kept_after", "prompts")]
            table.add_row(cell(row["language"]), *numbers, *counts)
        return table


def try_answers(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    options: TrialOptions,
    change: Change | None = None,
) -> Trial:
    """Let a model answer prompts greedily, without an edit and with it, and find where it slips.

    Args:
        model: A causal language model.
        tokenizer: Its tokenizer.
        prompts: The prompts.
        options: How answers are made and judged.
        change: The edit: from the wanted language of a prompt to a context; None tries none.

    Raises:
        ArgumentError: No prompt, or a language that the identifier does not know.

    Example:
        >>> from contextlib import nullcontext
        >>> options = TrialOptions(lambda line: "deu_Latn", lambda token: "und", max_new_tokens=4)
        >>> prompts = [Prompt("Guten Morgen", "de")]
        >>> try_answers(model, tokenizer, prompts, options, lambda language: nullcontext()).flips
        ['wrong']
    """
    options.check(prompts)
    texts = shown(tokenizer, prompts, chat=options.chat)
    found = _answered(model, tokenizer, texts, options)
    points = _points(tokenizer, prompts, texts, found, options)
    answers = tuple(one.texts[0] for one in found)
    judged = options.judge(
        [Answer(text, one.language, one.source) for text, one in zip(answers, prompts, strict=True)]
    )
    about = {"answers": f"greedy, at most {options.max_new_tokens} tokens"}
    about["judged lines"] = f"of at least {options.least} tokens"
    if change is None:
        return Trial(tuple(prompts), answers, points, judged, about=about)
    edited: dict[int, Sampled] = {}
    for language in dict.fromkeys(one.language for one in prompts):
        rows = [row for row, one in enumerate(prompts) if one.language == language]
        with change(language):
            again = _answered(model, tokenizer, [texts[row] for row in rows], options)
        edited |= zip(rows, again, strict=True)
    ordered = [edited[row] for row in range(len(prompts))]
    after = tuple(one.texts[0] for one in ordered)
    how = {"words": options.words, "least": options.least}
    comparison = compare_answers(prompts, answers, after, options.identify, **how)  # type: ignore[arg-type]
    slips = _points(tokenizer, prompts, texts, ordered, options)
    return Trial(tuple(prompts), answers, points, judged, after, slips, comparison, about)


def _points(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    texts: Sequence[str],
    answers: Sequence[Sampled],
    options: TrialOptions,
) -> tuple[ConfusionPoint | None, ...]:
    """Return where answers slip into English; those that should be English have no point."""
    return tuple(
        None if prompt.language == ENGLISH else point_of(tokenizer, prompt, text, answer, options.of_tokens)
        for prompt, text, answer in zip(prompts, texts, answers, strict=True)
    )


def _answered(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], options: TrialOptions
) -> list[Sampled]:
    """Return greedy answers to texts."""
    generation = greedy(model, options.max_new_tokens, options.stop)
    return continue_each(model, tokenizer, texts, generation=generation, batch_size=options.batch_size)
