"""Models from the Hub or from disk, with errors in one line."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer

from xalign.errors import ArgumentError, MissingExtraError

Dtype = Literal["auto", "float32", "bfloat16", "float16"]


def load_model(
    name: str,
    *,
    revision: str | None = None,
    tokenizer: str | None = None,
    dtype: Dtype = "auto",
    device: str = "auto",
    trust_remote_code: bool = False,
    progress: bool = True,
) -> tuple[Any, Any]:
    """Loads a model and its tokenizer.

    Args:
        name: Hub id, or a folder; a folder with an adapter loads its base too.
        revision: Branch, tag or commit on the Hub.
        tokenizer: Hub id or folder of another tokenizer than the model's own.
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
    adapter = Path(name) / "adapter_config.json"
    if adapter.is_file():
        base = json.loads(adapter.read_text(encoding="utf-8")).get("base_model_name_or_path")
        if not base:
            raise ArgumentError(f"{name!r} holds an adapter that does not name its base model")
        if find_spec("peft") is None:
            raise MissingExtraError("adapters need peft: pip install 'xalign[train]'")
        model, found = load_model(
            base,
            tokenizer=tokenizer or (name if (Path(name) / "tokenizer_config.json").is_file() else None),
            dtype=dtype,
            device=device,
            trust_remote_code=trust_remote_code,
            progress=progress,
        )
        from peft import PeftModel

        return PeftModel.from_pretrained(model, name).eval(), found
    try:
        config = AutoConfig.from_pretrained(name, **common)
        # The head of a language model costs one position; other heads are left off.
        causal = any(arch.endswith(("ForCausalLM", "LMHeadModel")) for arch in config.architectures or [])
        loader = AutoModelForCausalLM if causal else AutoModel
        model = loader.from_pretrained(
            name, dtype=dtype if dtype == "auto" else getattr(torch, dtype), **common
        )
        found = AutoTokenizer.from_pretrained(tokenizer or name, **({} if tokenizer else common))
    except (OSError, ValueError, ImportError, KeyError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ArgumentError(f"model {name!r} cannot be loaded: {reason}") from error
    loaded: Any = model
    return loaded.to(place).eval(), found
