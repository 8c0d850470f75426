"""`Tokens`: what is known of the tokens of one forward. What is not known raises an error when it is used."""

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
class Tokens:
    """The tokens of one forward.

    `column`, `real`, `prompt` and `last_prompt` raise an `ArgumentError` where they cannot be known. The
    error says why, and what to give instead.

    Attributes:
        shape: Number of rows, and of tokens in each.
        ids: Token ids; None where the model was given embeddings.
        known_column: `column`, or why it is not known.
        known_real: `real`, or why it is not known.
        known_prompt: `prompt`, or why it is not known.
        known_last_prompt: `last_prompt`, or why it is not known.
        copies: Number of rows that each prompt has in this forward: beams, or several sequences to return.
    """

    shape: torch.Size
    ids: Int[Tensor, "batch token"] | None
    known_column: Int[Tensor, " token"] | Unknown
    known_real: Bool[Tensor, "batch token"] | Unknown
    known_prompt: Bool[Tensor, "batch token"] | Unknown
    known_last_prompt: Bool[Tensor, "batch token"] | Unknown
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


def _known(what: str, fact: Fact | Unknown) -> Fact:
    if isinstance(fact, Unknown):
        raise ArgumentError(f"{what} cannot be known: {fact.why}")
    return fact
