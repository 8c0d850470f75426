"""The first token of an answer, where it continues a prompt."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from xalign.errors import ArgumentError
from xalign.model.inputs import Inputs
from xalign.pairs.languages import normalize_languages


def answer_tokens(
    model: nn.Module,
    tokenizer: Any,
    prompts: Mapping[str, Sequence[str]],
    answers: Mapping[str, Sequence[str]],
) -> dict[str, Int[Tensor, " item"]]:
    """Return per language the id of the first token that each answer adds to its prompt.

    It is the first token of prompt and answer, as one text, in which they differ from the prompt alone.

    Args:
        model: The model, for the tokens that it takes.
        tokenizer: Its tokenizer.
        prompts: Language -> prompts; their codes are those of the table, like `deu_Latn`.
        answers: Language -> an answer for each of them, as it continues the prompt.

    Raises:
        ArgumentError: A language without answers, another number of them, or an answer that adds no token.

    Example:
        >>> found = answer_tokens(model, tokenizer, {"eng_Latn": ["It rains"]}, {"en": [" today"]})
        >>> tokenizer.decode(found["eng_Latn"])
        ' to'
    """
    inputs = Inputs(model, tokenizer)
    special = set(tokenizer.all_special_ids)
    given = dict(zip(normalize_languages("answers", answers), answers.values(), strict=True))
    found = {}
    for code, own in prompts.items():
        if len(given.get(code, ())) != len(own):
            count = len(given[code]) if code in given else "none"
            raise ArgumentError(f"answers of {code}: {count}, for {len(own)} prompts; give one for each")
        alone = inputs.encode(own, code).ids
        whole = inputs.encode([a + b for a, b in zip(own, given[code], strict=True)], code).ids
        tokens = [_first_new(a, b, special) for a, b in zip(alone, whole, strict=True)]
        empty = [str(row) for row, token in enumerate(tokens) if token is None]
        if empty:
            raise ArgumentError(f"answers of {code}, entries {', '.join(empty[:5])}: they add no token")
        found[code] = torch.tensor(tokens)
    return found


def _first_new(prompt: Sequence[int], whole: Sequence[int], special: set[int]) -> int | None:
    """Return the first token in which a text differs from its beginning; None where there is none."""
    for at, token in enumerate(whole):
        if (at >= len(prompt) or token != prompt[at]) and token not in special:
            return token
    return None
