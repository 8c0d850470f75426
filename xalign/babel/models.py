"""`load_babel`: the two models that ship with the package, and how such models are kept on disk."""

import copy
import hashlib
import json
import os
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerBase

from xalign.babel.write import MIXTURES
from xalign.errors import ArgumentError, ModelError

_FACTS = "pretraining.json"
_SAVED = ("config.json", "model.safetensors", "tokenizer.json")
_REMEDY = "reinstall xalign, or run recipes/pretrain_babel.py again"


def load_babel(
    name: str = "aligned", folder: str | Path | None = None
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerBase]:
    """Loads one of Babel's models, in float32 and evaluation mode, with its tokenizer.

    Args:
        name: `aligned` (learnt from translations between all five languages) or `unaligned` (from
            translations from and into English only).
        folder: Where `recipes/pretrain_babel.py` put its models; where None, those that ship with xalign.

    Raises:
        ArgumentError: An unknown name.
        ModelError: A file that is missing, corrupt or not the one that was saved.

    Example:
        >>> from xalign.babel import load_babel
        >>> model, tokenizer = load_babel("aligned")
        >>> model.config.num_hidden_layers
        6
    """
    facts = babel_facts(name, folder)
    place = _place(name, folder)
    for name_of_file, digest in facts["sha256"].items():
        path = place / name_of_file
        found = _digest(path) if path.is_file() else "no file"
        if found != digest:
            raise ModelError(
                f"{path} is not what was saved there: its sha256 is {found}, not {digest}; {_REMEDY}"
            )
    try:
        model = LlamaForCausalLM.from_pretrained(place, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(place)
    except (OSError, ValueError) as error:
        raise ModelError(f"{place} cannot be loaded: {str(error).splitlines()[0]}; {_REMEDY}") from error
    model.requires_grad_(True).train(False)
    return model, tokenizer


def babel_facts(name: str = "aligned", folder: str | Path | None = None) -> dict[str, Any]:
    """How one of Babel's models was trained, and what was measured on it then.

    Args:
        name: `aligned` or `unaligned`.
        folder: As in `load_babel`.

    Example:
        >>> babel_facts("unaligned")["run"]["mixture"]
        'unaligned'
    """
    if name not in MIXTURES:
        raise ArgumentError(f"name={name!r} must be one of {', '.join(MIXTURES)}")
    place = _place(name, folder) / _FACTS
    try:
        facts: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
        if not {"sha256", "run"} <= facts.keys():
            raise ValueError("no sha256, or no run")
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{place} does not say how {name!r} was made: {error}; {_REMEDY}") from None
    return facts


def save_babel(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, folder: str | Path, facts: dict[str, Any]
) -> Path:
    """Saves a model in half precision, its tokenizer, and last the facts, without which it does not load.

    Args:
        model: The model; it is left as it is.
        tokenizer: Its tokenizer.
        folder: Where Babel's models are kept; this one goes into the folder named after its mixture.
        facts: How it was made, `run` among them; digests of the files are added.
    """
    place = _place(facts["run"]["mixture"], folder)
    place.mkdir(parents=True, exist_ok=True)
    (place / _FACTS).unlink(missing_ok=True)
    half = copy.deepcopy(model)
    half.to(dtype=torch.float16)  # type: ignore[call-arg]
    half.save_pretrained(place)
    tokenizer.save_pretrained(place)
    save_facts(place, facts | {"sha256": {name: _digest(place / name) for name in _SAVED}})
    return place


def save_facts(place: str | Path, facts: dict[str, Any]) -> None:
    """Writes the facts of the model in a folder, in one step."""
    written = Path(place) / f"{_FACTS}.part"
    written.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(written, Path(place) / _FACTS)


def _place(name: str, folder: str | Path | None) -> Path:
    return (Path(str(files("xalign.babel"))) / "shipped" if folder is None else Path(folder)) / name


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
