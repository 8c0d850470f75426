"""`keeping`: use a tokenizer, and leave it as it was."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers import PreTrainedTokenizerBase

from xalign.model.undo import Steps, undo


@contextmanager
def keeping(tokenizer: PreTrainedTokenizerBase) -> Iterator[None]:
    """Put back afterwards what a call of a tokenizer, or of its `src_lang`, changes on it.

    transformers sets truncation, padding and the handling of special tokens on a fast tokenizer's backend in
    every call, and does not put them back. A collator that uses the backend would get other batches.

    Args:
        tokenizer: The tokenizer.

    Example:
        >>> tokenizer.backend_tokenizer.enable_truncation(9)
        >>> with keeping(tokenizer):
        ...     _ = tokenizer("It rains.")
        >>> tokenizer.backend_tokenizer.truncation["max_length"]
        9
        >>> tokenizer.backend_tokenizer.no_truncation()
    """
    steps: Steps = [_State(tokenizer).put_back]
    try:
        try:
            yield
        finally:
            undo(steps)
    finally:
        undo(steps)


class _State:
    """The attributes of a tokenizer, and the settings of its backend, as they are now."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._attributes = dict(vars(tokenizer))
        self._backend: Any = getattr(tokenizer, "backend_tokenizer", None)  # slow tokenizers have none
        if self._backend is not None:
            self._truncation, self._padding = self._backend.truncation, self._backend.padding
            self._special = self._backend.encode_special_tokens
            self._added = self._backend.post_processor

    def put_back(self) -> None:
        now = vars(self._tokenizer)
        for name, value in self._attributes.items():
            if now.get(name, self) is not value:
                now[name] = value
        backend = self._backend
        # Only where it changed: another thread that encodes meanwhile would get an error.
        if backend is None:
            return
        if backend.truncation != self._truncation:
            backend.no_truncation()
            if self._truncation is not None:
                backend.enable_truncation(**self._truncation)
        if backend.padding != self._padding:
            backend.no_padding()
            if self._padding is not None:
                backend.enable_padding(**self._padding)
        if backend.encode_special_tokens != self._special:
            backend.encode_special_tokens = self._special
        if repr(backend.post_processor) != repr(self._added):
            backend.post_processor = self._added
