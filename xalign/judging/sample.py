"""`sample`: continuations of a prompt, or of nothing, sampled from a model as it is."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import GenerationConfig, PreTrainedTokenizerBase

from xalign.checks import whole_number
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
        n: How many.
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
    n, seed = whole_number("n", n, least=1), whole_number("seed", seed)
    if seed > _LARGEST_SEED:
        raise ArgumentError(f"seed={seed} must be at most {_LARGEST_SEED}")
    check_sampling(prompt, generation)
    Inputs(model, tokenizer)  # refuses what is no tokenizer
    generate: Any = getattr(model, "generate", None)
    if generate is None:
        raise ModelError(f"{type(model).__name__} does not generate; load it with its language-model head")
    given = prompt_ids(tokenizer, prompt)
    ids = torch.tensor([given] * n, device=device_of(model))
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    options = _options(generation, pad)
    with observing(model), _plain_generation(model) as config:
        _seed(seed, ids.device)
        generated = generate(input_ids=ids, attention_mask=torch.ones_like(ids), **options)
    stops = options.get("eos_token_id", config.eos_token_id)
    ends = set(stops) if isinstance(stops, list | tuple) else {stops}
    rows = [_until(row, ends | {pad}, len(given)) for row in generated.tolist()]
    texts = [str(tokenizer.decode(row[len(given) :], skip_special_tokens=True)) for row in rows]
    return Sampled(texts, rows, len(given))


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
