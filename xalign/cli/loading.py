"""Models from the Hub or from disk, with errors in one line."""

from typing import Any, Literal

import torch
import transformers
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer

from xalign.errors import ArgumentError

Dtype = Literal["auto", "float32", "bfloat16", "float16"]


def load_model(
    name: str,
    *,
    revision: str | None = None,
    dtype: Dtype = "auto",
    device: str = "auto",
    trust_remote_code: bool = False,
    progress: bool = True,
) -> tuple[Any, Any]:
    """Loads a model and its tokenizer.

    Args:
        name: Hub id, or a folder.
        revision: Branch, tag or commit on the Hub.
        dtype: `auto` keeps the checkpoint's.
        device: `auto` takes the first CUDA device, else the CPU.
        trust_remote_code: Runs code that comes with the model.
        progress: Shows bars while loading.

    Returns:
        The model in evaluation mode, and the tokenizer.

    Raises:
        ArgumentError: It cannot be loaded, or the device does not exist.
    """
    if not progress:
        transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    place = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:
        raise ArgumentError(f"device={device!r} is not there: {str(error).splitlines()[0]}") from None
    common = {"revision": revision, "trust_remote_code": trust_remote_code}
    try:
        config = AutoConfig.from_pretrained(name, **common)
        # The head of a language model costs one position; other heads are left off.
        causal = any(arch.endswith(("ForCausalLM", "LMHeadModel")) for arch in config.architectures or [])
        loader = AutoModelForCausalLM if causal else AutoModel
        model: Any = loader.from_pretrained(
            name, dtype=dtype if dtype == "auto" else getattr(torch, dtype), **common
        )
        tokenizer = AutoTokenizer.from_pretrained(name, **common)
    except (OSError, ValueError, ImportError, KeyError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ArgumentError(f"model {name!r} cannot be loaded: {reason}") from error
    return model.to(place).eval(), tokenizer
