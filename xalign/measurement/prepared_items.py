"""Prepared test items: the texts of their options, and their contexts, encoded and batched once."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from xalign.errors import ArgumentError, PairsError
from xalign.measurement.prepare import Side
from xalign.metrics.compute import compute_values
from xalign.metrics.lexical import lexical_similarity
from xalign.metrics.metric import Metric
from xalign.model.encode import Encoded
from xalign.model.inputs import Inputs, TextOptions
from xalign.pairs.item import Choice
from xalign.pairs.items import ParallelItems
from xalign.results.values import LanguageStats


@dataclass(frozen=True)
class ItemSide:
    """The items of one language, ready to run.

    Attributes:
        options: The text of every option, with its context: those of item 0, of item 1, and so on.
        contexts: The contexts; None where no metric compares them.
    """

    options: Side
    contexts: Side | None

    @property
    def parts(self) -> list[Side]:
        """What is run."""
        return [self.options] if self.contexts is None else [self.options, self.contexts]


class PreparedItems:
    """Choice tasks as a model takes them.

    Args:
        items: The items.
        inputs: What the model takes.
        options: How texts become tokens.
        token_budget: The most tokens of a forward, padding included.
        with_contexts: Whether contexts are run by themselves too.

    Attributes:
        sides: Language -> its items, the pivot first.
        forwards: Forwards of one run.
        tokens: Tokens of one run, padding included.

    Raises:
        ArgumentError: A text longer than the context window, or contexts of the pivot that repeat.
    """

    def __init__(
        self,
        items: ParallelItems[Choice],
        inputs: Inputs,
        options: TextOptions,
        token_budget: int,
        *,
        with_contexts: bool,
    ) -> None:
        contexts = [item.context for item in items[items.pivot]]
        repeated = len(contexts) - len(set(contexts))
        if with_contexts and repeated:
            raise ArgumentError(
                f"{repeated} context(s) in {items.pivot} repeat an earlier one, and equal ones can never be "
                "nearest: leave out metrics of contexts, like metrics=['dali', 'dali_strong']"
            )

        def side(language: str, texts: Sequence[str], ids: Sequence[str]) -> Side:
            encoded = inputs.encode(texts, language, options, ids)
            return Side(encoded, inputs.batches(encoded.lines, token_budget=token_budget))

        self.sides: dict[str, ItemSide] = {}
        for language, own in items.items():
            texts = [text for item in own for text in item.texts]
            ids = [
                f"{one}, option {k}" for one, item in zip(items.ids, own, strict=True) for k in _numbers(item)
            ]
            alone = side(language, [item.context for item in own], items.ids) if with_contexts else None
            self.sides[language] = ItemSide(side(language, texts, ids), alone)
        runs = [part for one in self.sides.values() for part in one.parts]
        self.forwards = sum(len(part.batches) for part in runs)
        self.tokens = sum(batch.pooled.numel() for part in runs for batch in part.batches)

    def floors(self, metrics: Sequence[Metric], pivot: str) -> dict[str, dict[str, Tensor]]:
        """Return row of the report -> language -> the metric of the contexts' token counts."""
        with_floor = [metric for metric in metrics if metric.has_floor]
        floors: dict[str, dict[str, Tensor]] = {row: {} for metric in with_floor for row in metric.rows}
        for language, side in self.sides.items():
            if language == pivot or not with_floor:
                continue
            counts = [_encoded(one.contexts).pooled_ids for one in (self.sides[pivot], side)]
            similarity = lexical_similarity(*counts)
            for metric in with_floor:
                for row, compute in metric.rows.items():
                    floors[row][language] = compute_values(
                        row, compute, (similarity,), metric.scale, len(counts[0])
                    )
        return floors

    def stats(self) -> dict[str, LanguageStats]:
        """Return what the tokenizer makes of the texts of each language."""
        found = {}
        for language, side in self.sides.items():
            encoded = _encoded(side.options)
            own, unknown = sum(encoded.own_tokens), sum(encoded.unknown_tokens)
            found[language] = LanguageStats(own / len(encoded), unknown / max(own, 1))
        return found


def checked_options(items: ParallelItems[Choice]) -> int:
    """Return the number of options of choice tasks, which must be the same for all.

    Raises:
        PairsError: Items of another kind, or with different numbers of options.
    """
    if items.kind is not Choice:
        raise PairsError(f"these are {items.kind.plural}; only choices have options to compare")
    counts = sorted({len(item.options) for own in items.values() for item in own})
    if len(counts) > 1:
        raise PairsError(
            f"items have {counts[0]} to {counts[-1]} options, which have different chance levels: take "
            "those of one number, with items.rows(...)"
        )
    return counts[0]


def check_parallel(items: ParallelItems[Choice]) -> None:
    """Refuse items of one language only, and items that are not aligned between languages.

    Raises:
        PairsError: Items of one language, or not aligned.
    """
    if not items.languages or not items.is_aligned:
        raise PairsError("the items must be the same in the pivot and in at least one other language")


def _numbers(item: Choice) -> range:
    return range(len(item.options))


def _encoded(side: Side | None) -> Encoded:
    if side is None or not isinstance(side.encoded, Encoded):
        raise TypeError("no text was encoded")
    return side.encoded
