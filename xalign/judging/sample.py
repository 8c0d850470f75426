"""`sample`: continuations of a prompt, or of nothing, sampled from a model as it is."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import GenerationConfig, PreTrainedTokenizerBase

from xalign.checks import names, whole_number
from xalign.errors import ArgumentError, ArgumentTypeError, ModelError
from xalign.model.inputs import Inputs
from xalign.model.observe import observing
from xalign.model.placement import device_of
from xalign.model.tokenizer_state import keeping
from xalign.model.wrapped import base_model_of

# Plain sampling from the model's own distribution; transformers would cut it to the 50 likeliest tokens.
_SAMPLING = {"temperature": 1.0, "top_k": 0, "top_p": 1.0}
_LARGEST_SEED = 2**63 - 1
_PLAIN = {"do_sample": True, "max_new_tokens": 24, **_SAMPLING}
_SPECIAL_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")


@dataclass(frozen=True, slots=True)
class Sampled:
    """Sampled continuations.

    Attributes:
        texts: The continuations, without the prompt.
        ids: Their token ids, with the prompt, and without the token that ends them.
        prompt: How many of the ids are the prompt's.
    """

    texts: list[str]
    ids: list[list[int]]
    prompt: int


def sample(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    n: int,
    *,
    prompt: str = "",
    seed: int = 0,
    generation: Mapping[str, Any] | None = None,
) -> Sampled:
    """Sample continuations with a model as it is, steered if inside `steer`.

    Args:
        model: A causal language model.
        tokenizer: Its tokenizer.
        n: The number of continuations.
        prompt: The text to continue; only the beginning-of-sequence token where empty.
        seed: The same seed gives the same continuations. Random number generators are put back.
        generation: Arguments of `generate` in place of plain sampling at temperature 1 of 24 tokens;
            `eos_token_id` says what ends a continuation.

    Raises:
        ArgumentError: An empty prompt, and a tokenizer without a beginning-of-sequence token.
        ModelError: A model that does not generate.

    Example:
        >>> samples = sample(model, tokenizer, 3, seed=1, generation={"max_new_tokens": 4})
        >>> len(samples.texts), samples.prompt
        (3, 1)
    """
    n, seed = whole_number("n", n, least=1), _checked_seed(seed)
    check_sampling(prompt, generation)
    with _ready(model, tokenizer, seed):
        found = _continued(model, tokenizer, [prompt_ids(tokenizer, prompt)] * n, generation)
    texts, ids = [one.texts[0] for one in found], [one.ids[0] for one in found]
    return Sampled(texts, ids, found[0].prompt)


def continue_each(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    seed: int = 0,
    generation: Mapping[str, Any] | None = None,
    batch_size: int = 32,
) -> list[Sampled]:
    """Continue each of several prompts once with a model as it is, steered if inside `steer`.

    Prompts of similar length share a batch, padded on the left.

    Args:
        model: A causal language model.
        tokenizer: Its tokenizer.
        prompts: The texts to continue.
        seed: The same seed gives the same continuations. Random number generators are put back.
        generation: Arguments of `generate`, as in `sample`.
        batch_size: The most prompts that are continued at once.

    Returns:
        For each prompt its one continuation.

    Raises:
        ArgumentError: No prompt, or an empty one and a tokenizer without a beginning-of-sequence token.
        ModelError: A model that does not generate.

    Example:
        >>> found = continue_each(model, tokenizer, ["It rains.", "Good"], generation={"max_new_tokens": 4})
        >>> len(found), len(found[0].texts)
        (2, 1)
    """
    seed, batch_size = _checked_seed(seed), whole_number("batch_size", batch_size, least=1)
    prompts = names("prompts", prompts)
    if not prompts:
        raise ArgumentError("prompts is empty; give at least one text to continue")
    check_sampling(prompts[0], generation)
    continued: dict[int, Sampled] = {}
    with _ready(model, tokenizer, seed):
        given = [prompt_ids(tokenizer, prompt) for prompt in prompts]
        order = sorted(range(len(given)), key=lambda row: (len(given[row]), row))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            found = _continued(model, tokenizer, [given[row] for row in rows], generation)
            continued |= zip(rows, found, strict=True)
    return [continued[row] for row in range(len(given))]


def check_sampling(prompt: object, generation: object) -> None:
    """Raise an error for a prompt that is not text, or arguments of `generate` that are not a mapping."""
    if not isinstance(prompt, str):
        raise ArgumentTypeError(f"prompt={prompt!r:.60} must be text")
    names_only = isinstance(generation, Mapping) and all(isinstance(name, str) for name in generation)
    if generation is not None and not names_only:
        raise ArgumentTypeError(
            f"generation={generation!r:.60} must hold arguments of generate, like {{'max_new_tokens': 24}}"
        )


def prompt_ids(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """Return the token ids of a prompt, without a final end-of-sequence token.

    An empty prompt gives the beginning-of-sequence token alone.

    Raises:
        ArgumentError: An empty prompt, and a tokenizer without a beginning-of-sequence token.
    """
    if not prompt:
        if tokenizer.bos_token_id is None:
            raise ArgumentError(
                "prompt is empty and the tokenizer has no beginning-of-sequence token; give one"
            )
        return [tokenizer.bos_token_id]
    with keeping(tokenizer):
        ids = list(tokenizer(prompt)["input_ids"])
    return ids[:-1] if len(ids) > 1 and ids[-1] == tokenizer.eos_token_id else ids


@contextmanager
def _ready(model: nn.Module, tokenizer: PreTrainedTokenizerBase, seed: int) -> Iterator[None]:
    """Make a model ready to sample from a seed, and put everything back."""
    Inputs(model, tokenizer)  # refuses what is no tokenizer
    if getattr(model, "generate", None) is None:
        raise ModelError(f"{type(model).__name__} does not generate; load it with its language-model head")
    with observing(model):
        _seed(seed, device_of(model))
        yield


def _continued(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    given: Sequence[list[int]],
    generation: Mapping[str, Any] | None,
) -> list[Sampled]:
    """Continue token ids in one batch, padded on the left."""
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    longest, options = max(map(len, given)), _options(generation, pad)
    filler = 0 if pad is None else pad  # masked, so that any token will do
    ids = torch.tensor([[filler] * (longest - len(row)) + row for row in given], device=device_of(model))
    real = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in given], device=ids.device)
    with _plain_generation(model) as config:
        generated = model.generate(input_ids=ids, attention_mask=real, **options)
    stops = options.get("eos_token_id", config.eos_token_id)
    ends = {*stops, pad} if isinstance(stops, list | tuple) else {stops, pad}
    found = []
    for row, padded in zip(given, generated.tolist(), strict=True):
        whole = _until(padded[longest - len(row) :], ends, len(row))
        text = str(tokenizer.decode(whole[len(row) :], skip_special_tokens=True))
        found.append(Sampled([text], [whole], len(row)))
    return found


def _checked_seed(seed: object) -> int:
    checked = whole_number("seed", seed)
    if checked > _LARGEST_SEED:
        raise ArgumentError(f"seed={checked} must be at most {_LARGEST_SEED}")
    return checked


def _options(generation: Mapping[str, Any] | None, pad: int | None) -> dict[str, Any]:
    """Return the arguments of `generate`, without those of sampling if decoding is greedy."""
    options = {**_PLAIN, "pad_token_id": pad, **(generation or {})}
    if options["do_sample"]:
        return options
    return {name: value for name, value in options.items() if name not in _SAMPLING}


def _seed(seed: int, device: torch.device) -> None:
    """Seed the generators that sampling draws from, and those of no other device."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


@contextmanager
def _plain_generation(model: nn.Module) -> Iterator[Any]:
    """Put the checkpoint's own settings aside, such as a penalty or beams: they change the distribution.

    transformers fills what a given configuration leaves open from the model's, so the model's is replaced.
    """
    owner: Any = base_model_of(model)
    its_own = owner.generation_config
    tokens = {name: getattr(its_own, name, None) for name in _SPECIAL_TOKENS}
    config: Any = GenerationConfig(**tokens)  # type: ignore[no-untyped-call]
    owner.generation_config = config
    try:
        yield config
    finally:
        owner.generation_config = its_own


def _until(row: list[int], ends: set[int | None], start: int) -> list[int]:
    """Return a row up to the first end after the prompt."""
    return next((row[:at] for at in range(start, len(row)) if row[at] in ends), row)
