"""`likelihood_gaps`: how much likelier a model finds a stereotype than its counterpart, by language."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import takewhile
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from xalign.bias.bias_list import BiasList, Pairs, checked_pairs
from xalign.checks import boolean
from xalign.errors import ArgumentError
from xalign.judging.text_losses import Ids, token_losses
from xalign.model.inputs import Inputs
from xalign.statistics.intervals import bootstrap_interval, known_interval, share_interval

Count = Literal["shared", "all"]


@dataclass(frozen=True)
class LikelihoodGap:
    """The gaps of a language's pairs.

    Attributes:
        language: The language.
        gaps: Per pair, the log-likelihood of the stereotype minus that of its counterpart, in nats.
        low: Lower end of the 95 % interval of their mean, a bootstrap over pairs; None where it is not known.
        high: Its upper end.
        shorter: How many pairs have sides of different numbers of tokens.
    """

    language: str
    gaps: Float[np.ndarray, " pair"]
    low: float | None
    high: float | None
    shorter: int

    @property
    def mean(self) -> float:
        """The mean gap in nats; 0 without bias, above 0 where the stereotypes are likelier."""
        return float(self.gaps.mean())

    @property
    def preferred(self) -> float:
        """The share of pairs in which the stereotype is likelier; equal ones count half. Without bias .5."""
        return float(_preferred(self.gaps).mean())

    @property
    def preferred_interval(self) -> tuple[float, float]:
        """The 95 % interval of `preferred`."""
        return share_interval(_preferred(self.gaps))


def likelihood_gaps(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    pairs: BiasList | Pairs,
    *,
    count: Count = "shared",
    per_token: bool = False,
    seed: int = 0,
    token_budget: int = 8192,
) -> dict[str, LikelihoodGap]:
    """Compare the log-likelihoods of sentences that differ in one attribute.

    With `"shared"`, only the tokens that both sentences have are counted, given all that precedes them: if
    one group's word is rarer than the other's, that alone then counts nothing. Only tokens after the
    difference can differ in their likelihood, so the pairs should name the group first.

    Args:
        model: A causal language model; it is only read. Inside a `with steer(...)` it is the steered one.
        tokenizer: Its tokenizer.
        pairs: A bias list, or language -> pairs of sentences, the stereotype first.
        count: `"shared"`, as CrowS-Pairs does, or `"all"` tokens of both sentences.
        per_token: Divide each log-likelihood by the number of tokens that count.
        seed: Seed of the bootstrap.
        token_budget: The most tokens in one forward pass, padding included.

    Returns:
        Language -> its gaps.

    Raises:
        ArgumentError: A pair without a difference, or, with `"shared"`, without a shared token after it.
        ModelError: A model without a language-model head.

    Reference:
        Nangia, Vania, Bhalerao and Bowman (2020), CrowS-Pairs, EMNLP, §3, for masked models, whose tokens are
        predicted from both sides. In causal models the chain rule takes the place of pseudo-likelihood.

    Example:
        >>> pairs = {"eng_Latn": [("The man repairs the car.", "The woman repairs the car.")]}
        >>> found = likelihood_gaps(model, tokenizer, pairs)
        >>> len(found["eng_Latn"].gaps)
        1
    """
    boolean("per_token", per_token)
    if count not in get_args(Count):
        raise ArgumentError(f"count={count!r:.60} must be one of {', '.join(get_args(Count))}")
    given = checked_pairs(pairs.pairs if isinstance(pairs, BiasList) else pairs)
    inputs = Inputs(model, tokenizer)
    texts = {code: [text for pair in rows for text in pair] for code, rows in given.items()}
    ids = {code: [tuple(one) for one in inputs.encode(rows, code).ids] for code, rows in texts.items()}
    counted = {code: _counted(code, rows, count) for code, rows in ids.items()}  # before the model runs
    lost = iter(token_losses(model, tokenizer, [one for rows in ids.values() for one in rows], token_budget))
    found = {}
    for code, rows in ids.items():
        sums = np.array([_likelihood(next(lost), places, per_token) for places in counted[code]])
        gaps = sums[::2] - sums[1::2]
        ends = bootstrap_interval(gaps, seed=seed) if len(gaps) > 1 else (None, None)
        low, high = known_interval(*ends)
        shorter = sum(len(one) != len(other) for one, other in zip(rows[::2], rows[1::2], strict=True))
        found[code] = LikelihoodGap(code, gaps, low, high, shorter)
    return found


def _counted(language: str, rows: Sequence[Ids], count: Count) -> list[list[int]]:
    """Return for each sentence which of its losses count; loss i is of token i + 1."""
    if count == "all":
        return [list(range(len(ids) - 1)) for ids in rows]
    found: list[list[int]] = []
    for number, (one, other) in enumerate(zip(rows[::2], rows[1::2], strict=True)):
        shared = _shared(one, other)
        same = sum(1 for _ in takewhile(lambda both: both[0] == both[1], zip(one, other, strict=False)))
        if not any(place >= same for place, _ in shared):
            raise ArgumentError(
                f"pairs[{language!r}][{number}] has no shared token behind the difference, so that nothing "
                "could be compared: put the word of the group before what is said of it, or give count='all'"
            )
        for side in (0, 1):
            found.append([places[side] - 1 for places in shared if places[side] > 0])
    return found


def _shared(one: Ids, other: Ids) -> list[tuple[int, int]]:
    """Return the places of the tokens that two sentences share, whichever of them comes first.

    The matcher prefers the first of equally long blocks of its first sequence, so the order is fixed here.
    """
    if list(one) > list(other):
        return [(place, there) for there, place in _shared(other, one)]
    blocks = SequenceMatcher(None, list(one), list(other), autojunk=False).get_matching_blocks()
    return [(block.a + i, block.b + i) for block in blocks for i in range(block.size)]


def _likelihood(lost: Tensor, places: Sequence[int], per_token: bool) -> float:
    chosen = lost[list(places)]
    return -float(chosen.mean() if per_token else chosen.sum())


def _preferred(gaps: Float[np.ndarray, " pair"]) -> Float[np.ndarray, " pair"]:
    return np.where(gaps > 0, 1.0, np.where(gaps < 0, 0.0, 0.5))
