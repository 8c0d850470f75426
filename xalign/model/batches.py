"""Batches: sentences of similar length, padded on the right, under a token budget."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from xalign.checks import whole_number

Line = tuple[tuple[int, ...], tuple[bool, ...]]
"""The token ids of a sentence, and which of them are pooled."""
L = TypeVar("L", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Batch:
    """Sentences of similar length, padded on the right.

    A *token* is a position of the states that the model gives. For text these are the tokens of its input;
    for sound they are the frames of its encoder, which are fewer than the values that go in.

    Attributes:
        inputs: The arguments of the model's forward by name, such as `input_ids` and `attention_mask` [batch,
            token].
        pooled: True at tokens that are pooled, [batch, token].
        rows: Per line of the batch, the rows of the sentences it stands for. Equal sentences share a line, so
            that their states are equal to the bit and tie.
        mask: True at positions of the states that are not padding; None where `attention_mask` says it.
    """

    inputs: Mapping[str, Tensor]
    pooled: Bool[Tensor, "batch token"]
    rows: tuple[tuple[int, ...], ...]
    mask: Bool[Tensor, "batch token"] | None = None

    @property
    def real(self) -> Bool[Tensor, "batch token"]:
        """True at tokens that are not padding."""
        return self.inputs["attention_mask"].bool() if self.mask is None else self.mask

    @property
    def shape(self) -> tuple[int, int]:
        """Number of lines, and number of tokens of the longest one."""
        lines, tokens = self.pooled.shape
        return lines, tokens

    def take(self, lines: slice | Sequence[int], rows: Sequence[tuple[int, ...]]) -> "Batch":
        """Return a batch of some lines of this one, with the same padding.

        Args:
            lines: Which lines; a line may be taken several times.
            rows: Per line taken, the rows of the sentences it stands for.
        """
        return Batch(
            {name: values[lines] for name, values in self.inputs.items()},
            self.pooled[lines],
            tuple(rows),
            None if self.mask is None else self.mask[lines],
        )

    def halves(self) -> tuple["Batch", "Batch"]:
        """Return the same lines in two batches, with the same padding."""
        middle = len(self.rows) // 2
        first, second = slice(middle), slice(middle, None)
        return self.take(first, self.rows[first]), self.take(second, self.rows[second])

    def to(self, device: torch.device) -> dict[str, Tensor]:
        """Return the inputs on a device, to call the model with."""
        return {name: values.to(device) for name, values in self.inputs.items()}


def make_batches(
    lines: Iterable[Line],
    *,
    pad_id: int,
    token_budget: int | None = None,
    size: int | None = None,
    per_batch: int | None = None,
) -> list[Batch]:
    """Group sentences by length, and pad each group on the right.

    Args:
        lines: Per sentence its token ids and which of them are pooled, as in `Encoded.lines`.
        pad_id: The id to pad with; padded positions are masked.
        token_budget: The largest number of tokens in a batch, padding included. A sentence that is longer
            gets a batch of its own.
        size: The largest number of different sentences in a batch.
        per_batch: What a batch costs beside its tokens, in tokens. Where given, there are as many batches as
            make both together cheapest.

    Returns:
        The batches, longest sentences first; one batch where neither limit nor cost is given.

    Raises:
        ArgumentError: `token_budget` or `size` is below 1, or `per_batch` below 0.
        ArgumentTypeError: One of them is not a whole number.
    """
    batches = []
    limits = {"token_budget": token_budget, "size": size, "per_batch": per_batch}
    for taken, rows in group_lines(lines, lambda line: len(line[0]), **limits):
        ids, masks = zip(*taken, strict=True)
        batches.append(
            Batch(
                inputs={
                    "input_ids": _padded(ids, pad_id),
                    "attention_mask": _padded([(1,) * len(line) for line in ids], 0),
                },
                pooled=_padded(masks, False),
                rows=rows,
            )
        )
    return batches


def group_lines(
    lines: Iterable[L],
    length: Callable[[L], int],
    *,
    token_budget: int | None = None,
    size: int | None = None,
    per_batch: int | None = None,
) -> list[tuple[Sequence[L], tuple[tuple[int, ...], ...]]]:
    """Group equal lines, and then lines of similar length, as `make_batches` does.

    Args:
        lines: The lines, in the order of the sentences.
        length: From a line to its number of tokens.
        token_budget: The largest number of tokens in a group, padding included.
        size: The largest number of different lines in a group.
        per_batch: As in `make_batches`.

    Returns:
        Groups, the longest lines first: the different lines of each, and per line the rows that it stands
        for.
    """
    token_budget = None if token_budget is None else whole_number("token_budget", token_budget, least=1)
    size = None if size is None else whole_number("size", size, least=1)
    per_batch = None if per_batch is None else whole_number("per_batch", per_batch, least=0)
    rows_of: dict[L, list[int]] = {}
    for row, line in enumerate(lines):
        rows_of.setdefault(line, []).append(row)
    # The longest first, so that running out of memory shows at once.
    waiting = sorted(rows_of, key=length, reverse=True)
    groups: list[tuple[Sequence[L], tuple[tuple[int, ...], ...]]] = []
    takes = _takes([length(line) for line in waiting], token_budget, size, per_batch)
    first = 0
    while first < len(waiting):
        taken = waiting[first : first + takes[first]]
        groups.append((taken, tuple(tuple(rows_of[line]) for line in taken)))
        first += takes[first]
    return groups


def _takes(
    lengths: Sequence[int], token_budget: int | None, size: int | None, per_batch: int | None
) -> list[int]:
    """Return per line how many a group takes that begins with it: all that fit, or those that are cheapest.

    Lengths must fall.
    """

    def most(first: int) -> int:
        fitting = len(lengths) if token_budget is None else max(1, token_budget // lengths[first])
        return min(len(lengths) - first, fitting, size or fitting)

    takes = [most(first) for first in range(len(lengths))]
    if per_batch is not None:
        cost = np.zeros(len(lengths) + 1, dtype=np.int64)  # of the lines from each one on
        for first in reversed(range(len(lengths))):
            counts = np.arange(takes[first], 0, -1)
            costs = counts * lengths[first] + cost[first + counts]
            cheapest = costs.argmin()  # the first of equals, which takes the most
            takes[first], cost[first] = int(counts[cheapest]), costs[cheapest] + per_batch
    return takes


def pad_documents(documents: Sequence[Sequence[int]], pad_id: int = 0) -> dict[str, Tensor]:
    """Make one training batch, padded on the right, of ids, mask and labels; padding has no loss."""
    return {
        "input_ids": _padded(documents, pad_id),
        "attention_mask": _padded([[1] * len(ids) for ids in documents], 0),
        "labels": _padded(documents, -100),
    }


def _padded(lines: Sequence[Sequence[int]], value: int) -> Tensor:
    """Make one tensor of lines of different lengths, padded on the right."""
    longest = max(map(len, lines))
    return torch.tensor([[*line, *[value] * (longest - len(line))] for line in lines])
