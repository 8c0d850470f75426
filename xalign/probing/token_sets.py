"""Which tokens of a vocabulary belong to which language: from given text, or from given words."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from xalign.checks import positive
from xalign.errors import ArgumentError
from xalign.finding.activations import check_texts
from xalign.model.tokenizer_state import keeping
from xalign.pairs.languages import normalize_languages

SEVERAL, NONE = "several", "none"


@dataclass(frozen=True, eq=False)
class TokenSets:
    """The tokens of each language.

    Attributes:
        languages: The languages.
        group: Per token the number of its language; the number of languages where it belongs to several, and
            one more where it belongs to none. One row for all prompts, or a row for each.
    """

    languages: tuple[str, ...]
    group: Int[Tensor, "prompt token"]

    @property
    def names(self) -> tuple[str, ...]:
        """The languages, then `several` and `none`."""
        return (*self.languages, SEVERAL, NONE)

    def of(self, row: int) -> Int[Tensor, " token"]:
        """Return the groups of the tokens for a prompt."""
        return self.group[row if len(self.group) > 1 else 0]

    def counts(self) -> dict[str, float]:
        """Return how many tokens each group has, in the mean over prompts."""
        return {
            name: float((self.group == number).sum(dim=1).double().mean())
            for number, name in enumerate(self.names)
        }


def token_sets(tokenizer: Any, texts: Mapping[str, Sequence[str]], *, purity: float = 1.0) -> TokenSets:
    """Sort the vocabulary by the language in whose text each token occurs.

    A token belongs to a language that has at least the share `purity` of its occurrences, where each language
    counts as if it had as many tokens as the others. Other tokens that occur belong to several languages.

    Args:
        tokenizer: The tokenizer.
        texts: Language -> sentences, at least two languages.
        purity: 1 takes only tokens that occur in one language alone. With much text, in which names and words
            of other languages occur, .9 may be better.

    Raises:
        ArgumentError: Fewer than two languages, a purity that is not above ½ and at most 1, or a language
            without a token of its own.

    Example:
        >>> sets = token_sets(tokenizer, {"en": ["It rains."], "de": ["Es regnet."]})
        >>> sets.names
        ('eng_Latn', 'deu_Latn', 'several', 'none')
    """
    check_texts(texts, least=2)
    purity = positive("purity", purity)
    if not 0.5 < purity <= 1:  # noqa: PLR2004
        raise ArgumentError(f"purity={purity} must be above .5 and at most 1")
    codes = tuple(normalize_languages("texts", texts))
    counts = []
    with keeping(tokenizer):
        for sentences in texts.values():
            coded = tokenizer(list(sentences), add_special_tokens=False, padding=False, truncation=False)
            counts.append(Counter(token for ids in coded["input_ids"] for token in ids))
    rates = torch.zeros(len(codes), len(tokenizer), dtype=torch.float64)
    for number, count in enumerate(counts):
        for token, times in count.items():
            rates[number, token] = times / count.total()
    total = rates.sum(dim=0)
    share, owner = (rates / total.clamp_min(torch.finfo(torch.float64).tiny)).max(dim=0)
    several, none = len(codes), len(codes) + 1
    group = torch.where(share >= purity - 1e-12, owner, several)
    group[total == 0] = none
    group[torch.tensor(sorted(set(tokenizer.all_special_ids)), dtype=torch.long)] = none
    _check_owners(codes, group, f"in {sum(map(len, texts.values()))} sentences")
    return TokenSets(codes, group.unsqueeze(0))


def answer_sets(tokenizer: Any, answers: Mapping[str, Sequence[str]]) -> TokenSets:
    """Return, for each prompt, the tokens with which the right answer in each language may begin.

    They are all tokens that spell a beginning of the word, with or without a space before it; and the token
    of the first byte of its first character, where this character has no token of its own.

    Args:
        tokenizer: The tokenizer.
        answers: Language -> a word for each prompt, at least two languages.

    Raises:
        ArgumentError: Fewer than two languages, different numbers of words, or a word with no such token.

    Reference:
        Wendler et al. (2024), Do Llamas Work in English?, and its notebooks. They leave out items whose sets
        intersect; here the tokens that two words share are counted as those of several languages.

    Example:
        >>> sets = answer_sets(tokenizer, {"en": ["bread"], "de": ["Brot"]})
        >>> sets.group.shape
        torch.Size([1, 500])
    """
    check_texts(answers, least=2, name="answers")
    codes = tuple(normalize_languages("answers", answers))
    counts = {len(own) for own in answers.values()}
    if len(counts) > 1:
        raise ArgumentError(f"answers must have one word per prompt in every language, not {sorted(counts)}")
    spelt: dict[str, list[int]] = {}
    with keeping(tokenizer):
        for token, text in enumerate(tokenizer.batch_decode([[token] for token in range(len(tokenizer))])):
            spelt.setdefault(text.strip(), []).append(token)
        sides = [[_beginnings(tokenizer, word.strip(), spelt) for word in own] for own in answers.values()]
    several, none = len(codes), len(codes) + 1
    group = torch.full((counts.pop(), len(tokenizer)), none)
    for number, side in enumerate(sides):
        for row, tokens in enumerate(side):
            if not tokens:
                raise ArgumentError(f"answers[{codes[number]!r}], entry {row}: no token spells its beginning")
            at = torch.tensor(sorted(tokens))
            group[row, at] = torch.where(group[row, at] == none, number, several)
    return TokenSets(codes, group)


def _beginnings(tokenizer: Any, word: str, spelt: Mapping[str, Sequence[int]]) -> set[int]:
    """Return the tokens that spell a beginning of a word."""
    prefixes = (word[:end] for end in range(1, len(word) + 1))
    found = {token for prefix in prefixes for token in spelt.get(prefix, ())}
    if word[0] not in spelt:
        ids = tokenizer(word[0], add_special_tokens=False)["input_ids"]
        bytes_of_it = [token for token in ids if "\ufffd" in tokenizer.decode([token])]
        found.update(bytes_of_it[:1])
    return found - set(tokenizer.all_special_ids)


def _check_owners(codes: Sequence[str], group: Tensor, where: str) -> None:
    for number, code in enumerate(codes):
        if not bool((group == number).any()):
            raise ArgumentError(
                f"{code} has no token {where} that is its own; give more text, or lower purity"
            )
