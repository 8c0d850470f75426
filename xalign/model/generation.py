"""`watched_generate`: know when a model's `generate` begins, and what its prompt is."""

import functools
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from transformers import UnbatchedClassifierFreeGuidanceLogitsProcessor

from xalign.errors import ModelError
from xalign.model.forward_facts import cache_length, cache_of
from xalign.model.shadow import StandIn
from xalign.model.tokens import Unknown
from xalign.model.wrapped import base_model_of, uncompiled

# These run the model in another thread, where a visit does not act.
_IN_ANOTHER_THREAD = ("generate_batch", "init_continuous_batching", "continuous_batching_context_manager")
_LOCK = threading.RLock()
_FOREIGN = Unknown(
    "inside generate, the model was run on a sequence that is not generate's own, as guidance does; give "
    "positions='all', or a function of tokens.ids"
)


@dataclass
class GenerateCall:
    """What is known of a call of `generate` before it runs.

    Attributes:
        width: Number of columns of the prompt, padding and cached tokens included; or why it is not known.
        prompt: The last columns of the prompt, as token ids or embeddings; None where it is not known.
        rows: Number of prompts.
        real: True at tokens [prompt, column] that are not padding; None where transformers will work it out.
        cache: The cache of its forwards, once the first has begun.
        seen: Number of columns that have run, those of a cache included.
        begun: Whether its first forward has begun.
        guided: Whether guidance runs second sequences, which cannot be told from generate's own.
    """

    width: int | Unknown
    prompt: Tensor | None = None
    rows: int = 1
    real: Tensor | None = None
    cache: object = None
    seen: int = 0
    begun: bool = False
    guided: bool = False

    def why_foreign(self, inputs: Tensor, past: int, cache: object) -> Unknown | None:
        """Return why a forward is not one of this call's own; None where it is.

        Own forwards go on with the cache of the first, or run the whole prompt without one, and carry the
        prompt's tokens at the prompt's columns. A logits processor, for example, may run others.
        """
        if self.guided:
            return _FOREIGN
        if isinstance(self.width, Unknown):
            return None
        end = past + inputs.shape[1]
        new_cache = self.cache is None and past == self.seen  # that the model made in the forward before
        same_cache = not self.begun or cache is self.cache or new_cache
        whole = cache is not None or end >= self.width
        if not (past <= self.seen and same_cache and whole and self._has_prompt(inputs, past)):
            return _FOREIGN
        self.begun, self.cache, self.seen = True, cache, end
        return None

    def _has_prompt(self, inputs: Tensor, past: int) -> bool:
        """Return whether a forward's tokens, or embeddings, at the prompt's columns are the prompt's."""
        if len(inputs) % self.rows:
            return False
        if self.prompt is None or isinstance(self.width, Unknown):
            return True
        first = self.width - self.prompt.shape[1]
        start, stop = max(past, first), min(past + inputs.shape[1], self.width)
        if start >= stop:
            return True
        if inputs.dim() != self.prompt.dim():
            return False
        prompt = self.prompt[:, start - first : stop - first].to(inputs)
        prompt = prompt.repeat_interleave(len(inputs) // self.rows, dim=0)
        return torch.equal(prompt, inputs[:, start - past : stop - past])


@dataclass
class GenerateWatcher:
    """The calls of `generate` in progress in the thread that watches.

    Attributes:
        unknown: Why no prompt of this model is known; None where they are.
        calls: The calls, the outermost first.
        elsewhere: Whether another thread has called `generate`.
        thread: The thread that watches.
    """

    unknown: Unknown | None = None
    calls: list[GenerateCall] = field(default_factory=list)
    elsewhere: bool = False
    thread: int = field(default_factory=threading.get_ident)

    @property
    def current(self) -> GenerateCall | None:
        """The innermost call in progress."""
        return self.calls[-1] if self.calls else None

    @contextmanager
    def during(self, call: GenerateCall) -> Iterator[None]:
        """Keep a call in the list while it is in progress."""
        if self.calls:
            call.width = Unknown(
                "generate was called inside generate, as assisted decoding does with a model that drafts for "
                "itself; give another assistant_model, or positions='all'"
            )
        elif self.unknown is not None:
            call.width = self.unknown
        self.calls.append(call)
        try:
            yield
        finally:
            self.calls.remove(call)


class _Watched(StandIn):
    """Stands in for a model's method `generate` while somebody watches."""

    def __init__(self, model: Any) -> None:
        self.model, self.original, self.is_own = model, model.generate, "generate" in vars(model)
        self.watchers: list[GenerateWatcher] = []
        functools.update_wrapper(self, self.original)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method, and tell those who watch in this thread what it was given."""
        with ExitStack() as stack:
            # The decorator of `generate` leaves gradients off where Ctrl-C comes between two of its lines.
            stack.callback(torch.set_grad_enabled, torch.is_grad_enabled())
            for watcher in self.watchers:
                if watcher.thread == threading.get_ident():
                    stack.enter_context(watcher.during(self._described(args, kwargs)))
                else:
                    watcher.elsewhere = True
            return self.original(*args, **kwargs)

    def _described(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> GenerateCall:
        parameters = signature(self.original).parameters
        names = [name for name, one in parameters.items() if one.kind is one.POSITIONAL_OR_KEYWORD]
        if len(args) > len(names):
            return GenerateCall(Unknown("generate was given its prompt in a way of its own; name input_ids="))
        return _call_of(self.model, dict(zip(names, args, strict=False)) | kwargs)


class _Refused(StandIn):
    """Stands in for a method that runs the model in another thread."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        """Raise an error."""
        raise ModelError(
            f"{self.name} runs the model in another thread, where steering does not act; call generate with "
            "a padded batch instead"
        )


@contextmanager
def watched_generate(model: nn.Module) -> Iterator[GenerateWatcher]:
    """See each call of `generate` of the transformers model inside a model, in this thread.

    `generate` of wrappers (PEFT, pipelines) ends in that method. It is replaced on the instance while anybody
    watches, and put back when the last one stops. Methods that run the model in another thread, which is
    continuous batching, are refused meanwhile.

    Args:
        model: The model, wrapped or not.

    Yields:
        The calls in progress.
    """
    inner = base_model_of(model)
    watcher = GenerateWatcher(_virtual_tokens(model))
    try:
        try:
            _start(inner, watcher)
            yield watcher
        finally:
            _stop(inner, watcher)
    finally:
        _stop(inner, watcher)  # again, for a KeyboardInterrupt inside the first


def _start(model: Any, watcher: GenerateWatcher) -> None:
    if not callable(getattr(model, "generate", None)):
        return
    with _LOCK:
        watched = vars(model).get("generate")
        if not isinstance(watched, _Watched):
            watched = _Watched(model)
        watched.watchers.append(watcher)
        vars(model)["generate"] = watched
        for name in _IN_ANOTHER_THREAD:
            if hasattr(model, name) and name not in vars(model):
                vars(model)[name] = _Refused(name)


def _stop(model: Any, watcher: GenerateWatcher) -> None:
    with _LOCK:
        watched = vars(model).get("generate")
        if not isinstance(watched, _Watched):
            return
        watched.watchers = [one for one in watched.watchers if one is not watcher]
        if watched.watchers:
            return
        for name in _IN_ANOTHER_THREAD:
            if isinstance(vars(model).get(name), _Refused):
                del vars(model)[name]
        if watched.is_own:
            vars(model)["generate"] = watched.original
        else:
            del vars(model)["generate"]


def _call_of(model: Any, given: dict[str, Any]) -> GenerateCall:
    """Return what is known of a call of `generate` from its arguments."""
    embeds, cache = given.get("inputs_embeds"), cache_of(given)
    ids = next((given[name] for name in ("inputs", "input_ids") if given.get(name) is not None), None)
    if getattr(model.config, "is_encoder_decoder", False):
        return GenerateCall(Unknown("this model has an encoder, which is given the prompt"))
    prompt = ids if embeds is None else embeds
    if prompt is None and not any(isinstance(value, Tensor) for value in given.values()):
        return GenerateCall(1, real=torch.ones(1, 1, dtype=torch.bool))  # the beginning-of-sequence token
    if not isinstance(prompt, Tensor) or prompt.dim() < 2:
        return GenerateCall(Unknown(f"generate was given a prompt of type {type(prompt).__name__}"))
    past, rows, mask = cache_length(cache), len(prompt), given.get("attention_mask")
    width: int | Unknown = prompt.shape[1]
    if isinstance(past, Unknown):
        width = past
    elif isinstance(mask, Tensor) and mask.dim() == 2 and embeds is None:
        # With a cache, generate takes the whole prompt or its new tokens; the mask is of the whole prompt.
        new_only, width = mask.shape[1] != prompt.shape[1], mask.shape[1]
        if new_only and width != past + prompt.shape[1]:
            width = Unknown(
                f"attention_mask has {mask.shape[1]} columns, the prompt has {prompt.shape[1]} and the cache "
                f"{past}; give a mask of {past + prompt.shape[1]} columns"
            )
    elif past >= prompt.shape[1]:
        width = Unknown("the cache is as long as the prompt; give attention_mask over cache and prompt")
    call = GenerateCall(width, prompt, rows, guided=_is_guided(model, given))
    if isinstance(width, int) and isinstance(past, int):
        call.seen = past
        call.real = _real_of(model, given, prompt, mask, width)
    return call


def _is_guided(model: Any, given: dict[str, Any]) -> bool:
    """Return whether a call of `generate` asks for classifier-free guidance."""
    configs = (given.get("generation_config"), getattr(model, "generation_config", None))
    scales = [given.get("guidance_scale"), *(getattr(config, "guidance_scale", None) for config in configs)]
    processors = given.get("logits_processor") or ()
    return next((scale for scale in scales if scale is not None), 1) != 1 or any(
        isinstance(one, UnbatchedClassifierFreeGuidanceLogitsProcessor) for one in processors
    )


def _real_of(model: Any, given: dict[str, Any], prompt: Tensor, mask: object, width: int) -> Tensor | None:
    """Return which tokens of the prompts are not padding; None where it cannot be said before the forward."""
    if isinstance(mask, Tensor):
        return mask.bool() if mask.shape == (len(prompt), width) else None
    if prompt.dim() == 2:  # transformers takes tokens with the padding's id for padding
        configs = (given.get("generation_config"), getattr(model, "generation_config", None))
        pads = {given.get("pad_token_id"), *(getattr(config, "pad_token_id", None) for config in configs)}
        if any(bool((prompt == pad).any()) for pad in pads if isinstance(pad, int)):
            return None
    return torch.ones(len(prompt), width, dtype=torch.bool, device=prompt.device)


def _virtual_tokens(model: nn.Module) -> Unknown | None:
    config = getattr(uncompiled(model), "active_peft_config", None)
    if not getattr(config, "is_prompt_learning", False):
        return None
    return Unknown("a prompt-tuned model puts tokens of its own before the prompt; give positions='all'")
