"""`PairBatch`: the pairs of one micro-batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from xalign.model.batches import Line
from xalign.model.words import NO_WORD
from xalign.training.word_links import PairWords


@dataclass(frozen=True, slots=True)
class BatchWords:
    """The words of the pairs of one micro-batch, and which of them translate each other.

    Attributes:
        language: The number of each token's word, from 0 without gaps; −1 at tokens of no word and padding.
        pivot: The same for the pivot sentences.
        links: A row per link: the pair, the word of the sentence, and the word of the pivot sentence.
    """

    language: Int[Tensor, "pair token"]
    pivot: Int[Tensor, "pair pivot_token"]
    links: Int[Tensor, "link 3"]

    @classmethod
    def of(cls, pairs: Sequence[PairWords]) -> "BatchWords":
        """Join the words of pairs, in their order."""
        sides = [[one.language for one in pairs], [one.pivot for one in pairs]]
        language, pivot = (
            pad_sequence([torch.tensor(one) for one in side], batch_first=True, padding_value=NO_WORD)
            for side in sides
        )
        links = [(row, *link) for row, one in enumerate(pairs) for link in one.links]
        return cls(language, pivot, torch.tensor(links))


@dataclass(frozen=True, slots=True)
class PairBatch:
    """The pairs of one micro-batch.

    Attributes:
        names: Per pair, its language and its id.
        language_lines: Per pair, the token ids of the sentence, and which of them are pooled.
        pivot_lines: Per pair, the same for the pivot sentence.
        languages: Per pair, the number of its language.
        same: Per pair, a number for its sentence and one for its pivot sentence: pairs that share either are
            not each other's negatives.
        words: The words of both sides and their links, where there are any.
    """

    names: list[tuple[str, str]]
    language_lines: list[Line]
    pivot_lines: list[Line]
    languages: Int[Tensor, " pair"]
    same: Int[Tensor, "pair 2"]
    words: BatchWords | None = None
