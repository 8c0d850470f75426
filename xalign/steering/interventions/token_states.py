"""`token_states`: the states of one named token of each prompt."""

from collections.abc import Callable, Iterable, Sequence

from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from xalign.checks import function_of, whole_number
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.model.architectures.sites import Reading, Site
from xalign.model.batches import Line
from xalign.model.inputs import Inputs
from xalign.model.read import read_states
from xalign.model.tokenizer_state import keeping
from xalign.model.user_function import errors_of

Prompt = str | Sequence[int]
"""A text, or its token ids."""
Token = int | str | Callable[[Sequence[int]], int]
"""Which token of a prompt: its position, from the end where negative; its text, of which the last is taken;
or a function from the prompt's token ids to its position."""


def token_states(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    sites: Iterable[Site],
    token: Token = -1,
    *,
    token_budget: int = 8192,
) -> dict[Site, Float[Tensor, "prompt width"]]:
    """Return the states of one token of each prompt, at some sites.

    Args:
        model: The model; it is only read.
        tokenizer: Its tokenizer. It adds its special tokens to texts; token ids are taken as they are.
        prompts: The prompts.
        sites: The places.
        token: Which token, as `Token` says; the last where not given.
        token_budget: The most tokens in one forward pass, padding included.

    Returns:
        Site -> states in float32, on the CPU.

    Raises:
        ArgumentError: No prompt, one that is empty or longer than the context, or one without that token.
        ArgumentTypeError: Prompts that are neither texts nor token ids.

    Example:
        >>> token_states(model, tokenizer, ["It rains.", "Yes"], [Site("hidden", 1)])[Site("hidden", 1)].shape
        torch.Size([2, 32])
    """
    ids = prompt_ids(model, tokenizer, prompts)
    lines = [_line(tokenizer, one, token) for one in ids]
    batches = Inputs(model, tokenizer).batches(lines, token_budget=token_budget)
    readings = {site: Reading(site, "value", "last") for site in sites}
    states = read_states(model, batches, readings.values())
    return {site: states[reading] for site, reading in readings.items()}


def prompt_ids(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt], name: str = "prompts"
) -> list[tuple[int, ...]]:
    """Return the token ids of prompts.

    Raises:
        ArgumentError: As in `token_states`.
        ArgumentTypeError: As in `token_states`.
    """
    if isinstance(prompts, str | bytes) or not isinstance(prompts, Sequence):
        raise ArgumentTypeError(f"{name}={prompts!r:.60} must be a list of texts or of token ids")
    if not prompts:
        raise ArgumentError(f"{name} is empty; give at least one")
    inputs = Inputs(model, tokenizer)
    return [
        inputs.encode([one], ids=[f"{name}[{row}]"]).ids[0]
        if isinstance(one, str)
        else _checked_ids(one, inputs, f"{name}[{row}]")
        for row, one in enumerate(prompts)
    ]


def _checked_ids(ids: Sequence[int], inputs: Inputs, name: str) -> tuple[int, ...]:
    if not isinstance(ids, Sequence) or isinstance(ids, bytes):
        raise ArgumentTypeError(f"{name}={ids!r:.60} must be a text or a list of token ids")
    found = tuple(whole_number(name, one) for one in ids)
    if not found:
        raise ArgumentError(f"{name} holds no token")
    if inputs.vocabulary is not None and max(found) >= inputs.vocabulary:
        raise ArgumentError(f"{name} holds token {max(found)}, and the model embeds {inputs.vocabulary}")
    if inputs.context is not None and len(found) > inputs.context:
        raise ArgumentError(
            f"{name} has {len(found)} tokens, and the model takes {inputs.context}; shorten it"
        )
    return found


def _line(tokenizer: PreTrainedTokenizerBase, ids: tuple[int, ...], token: Token) -> Line:
    """Return the token ids, and which of them is read."""
    at = _position(tokenizer, ids, token)
    return ids, tuple(place == at for place in range(len(ids)))


def _position(tokenizer: PreTrainedTokenizerBase, ids: tuple[int, ...], token: Token) -> int:
    if isinstance(token, str):
        return _last_spelled(tokenizer, ids, token)
    if callable(token):
        function_of("token", token, "ids")
        with errors_of("token(ids)"):
            token = token(ids)
    at = whole_number("token", token, least=None)
    if not -len(ids) <= at < len(ids):
        raise ArgumentError(
            f"token={at} is outside a prompt of {len(ids)} tokens; count from 0, or from the end with -1"
        )
    return at % len(ids)


def _last_spelled(tokenizer: PreTrainedTokenizerBase, ids: tuple[int, ...], text: str) -> int:
    with keeping(tokenizer):
        spelled = [str(tokenizer.decode([one])).strip() for one in ids]
    if text.strip() not in spelled:
        raise ArgumentError(
            f"token={text!r:.40} is no token of the prompt {' '.join(spelled)!r:.80}; name one of its tokens "
            "or give a position"
        )
    return len(ids) - 1 - spelled[::-1].index(text.strip())
