"""`Tokens`: what is known of the tokens of one forward. What is not known raises an error when it is used."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from xalign.errors import ArgumentError

Fact = TypeVar("Fact")


@dataclass(frozen=True, slots=True)
class Unknown:
    """A fact that cannot be known, and why."""

    why: str


@dataclass(frozen=True, slots=True)
class Numbered:
    """The numbers of tokens among the real tokens of their prompt.

    Attributes:
        from_start: From 0 on; −1 at tokens that are not of the prompt.
        from_end: −1 at the last one, −2 before it, and so on; 0 at tokens that are not of the prompt.
    """

    from_start: Int[Tensor, "batch token"]
    from_end: Int[Tensor, "batch token"]

    @classmethod
    def of_none(cls, shape: Sequence[int], device: torch.device) -> "Numbered":
        """Return the numbers of tokens none of which is of a prompt."""
        nothing = torch.zeros(tuple(shape), dtype=torch.long, device=device)
        return cls(nothing - 1, nothing)

    @classmethod
    def within(
        cls, whole: Bool[Tensor, "batch column"], column: Int[Tensor, " token"] | None = None
    ) -> "Numbered":
        """Return the numbers of the tokens at some columns, all where None.

        Args:
            whole: True at the real tokens of the whole prompt.
            column: The columns; those behind the prompt have no token of it.
        """
        order = whole.long().cumsum(dim=1)
        start = torch.where(whole, order - 1, -1)
        end = torch.where(whole, order - 1 - order[:, -1:], 0)
        if column is None:
            return cls(start, end)
        inside, at = column < whole.shape[1], column.clamp(max=whole.shape[1] - 1)
        return cls(torch.where(inside, start[:, at], -1), torch.where(inside, end[:, at], 0))


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of one forward.

    `column`, `real`, `prompt`, `last_prompt` and `numbered` raise an `ArgumentError` where they cannot be
    known. The error says why, and what to give instead.

    Attributes:
        shape: Number of rows, and of tokens in each.
        ids: Token ids; None where the model was given embeddings.
        known_column: `column`, or why it is not known.
        known_real: `real`, or why it is not known.
        known_prompt: `prompt`, or why it is not known.
        known_last_prompt: `last_prompt`, or why it is not known.
        known_numbers: `numbered`, or why it is not known.
        copies: Number of rows that each prompt has in this forward: beams, or several sequences to return.
    """

    shape: torch.Size
    ids: Int[Tensor, "batch token"] | None
    known_column: Int[Tensor, " token"] | Unknown
    known_real: Bool[Tensor, "batch token"] | Unknown
    known_prompt: Bool[Tensor, "batch token"] | Unknown
    known_last_prompt: Bool[Tensor, "batch token"] | Unknown
    known_numbers: Numbered | Unknown
    copies: int = 1

    @property
    def column(self) -> Int[Tensor, " token"]:
        """Position of each token in the whole sequence; padding and cached tokens count."""
        return _known("the position of these tokens in the sequence", self.known_column)

    @property
    def real(self) -> Bool[Tensor, "batch token"]:
        """True at tokens that are not padding."""
        return _known("which tokens are padding", self.known_real)

    @property
    def prompt(self) -> Bool[Tensor, "batch token"]:
        """True at tokens of the prompt; the others were generated."""
        return _known("which tokens are prompt", self.known_prompt)

    @property
    def last_prompt(self) -> Bool[Tensor, "batch token"]:
        """True at the last real token of each prompt."""
        return _known("which token is the prompt's last", self.known_last_prompt)

    @property
    def numbered(self) -> Numbered:
        """The numbers of the tokens among the real tokens of their prompt."""
        return _known("which number a token of the prompt has", self.known_numbers)


def _known(what: str, fact: Fact | Unknown) -> Fact:
    if isinstance(fact, Unknown):
        raise ArgumentError(f"{what} cannot be known: {fact.why}")
    return fact
