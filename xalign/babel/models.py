"""`load_babel`: load and save Babel models."""

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
    """Load a Babel model, in float32 and evaluation mode, and its tokenizer.

    Args:
        name: `aligned` (trained on translations between all five languages), `unaligned` (trained on
            translations from and into English only) or `unequal` (the same, with much Spanish and little
            Chinese; it does not ship with xalign: train it with the recipe).
        folder: The output folder of `recipes/pretrain_babel.py`; None loads the models that ship with xalign.

    Raises:
        ArgumentError: The name is unknown.
        ModelError: A file is missing, corrupt or not the one that was saved.

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
        if not path.is_file():
            raise ModelError(f"{path} is missing; {_REMEDY}")
        if (found := _digest(path)) != digest:
            raise ModelError(
                f"{path} is not the file that was saved: its sha256 is {found}, not {digest}; {_REMEDY}"
            )
    try:
        model = LlamaForCausalLM.from_pretrained(place, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(place)
    except (OSError, ValueError) as error:
        raise ModelError(f"{place} cannot be loaded: {str(error).splitlines()[0]}; {_REMEDY}") from error
    model.requires_grad_(True).train(False)
    return model, tokenizer


def babel_facts(name: str = "aligned", folder: str | Path | None = None) -> dict[str, Any]:
    """Read how a Babel model was trained, and what was measured on it afterwards.

    Args:
        name: As in `load_babel`.
        folder: As in `load_babel`.

    Returns:
        The content of `pretraining.json`: `run` (the settings), `figures` (the results), `sha256` and others.

    Raises:
        ArgumentError: The name is unknown.
        ModelError: The file is missing or broken.

    Example:
        >>> babel_facts("unaligned")["run"]["mixture"]
        'unaligned'
    """
    if name not in MIXTURES:
        raise ArgumentError(f"name={name!r} must be one of {', '.join(MIXTURES)}")
    place = _place(name, folder) / _FACTS
    if folder is None and not place.parent.is_dir():
        raise ArgumentError(
            f"name={name!r} does not ship with xalign: run recipes/pretrain_babel.py "
            f"configs/babel_{name}.yaml, and give the folder that it writes to"
        )
    try:
        facts: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
        if not {"sha256", "run"} <= facts.keys():
            raise ValueError("'sha256' or 'run' is missing")
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{place} does not say how {name!r} was made: {error}; {_REMEDY}") from None
    return facts


def save_babel(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, folder: str | Path, facts: dict[str, Any]
) -> Path:
    """Save a model in half precision, its tokenizer and its facts.

    The facts are written last: a model without them does not load, so an interrupted save is noticed.

    Args:
        model: The model; it is not changed.
        tokenizer: Its tokenizer.
        folder: The folder for Babel models; this one goes into a subfolder named after its mixture.
        facts: How the model was made, with a key `run`. The digests of the files are added to them.

    Returns:
        The subfolder.
    """
    place = _place(facts["run"]["mixture"], folder)
    place.mkdir(parents=True, exist_ok=True)
    (place / _FACTS).unlink(missing_ok=True)
    half = copy.deepcopy(model)
    half.to(dtype=torch.float16)  # type: ignore[call-arg]
    half.save_pretrained(place)
    tokenizer.save_pretrained(place)
    _name_class_for_all(place / "tokenizer_config.json")
    save_facts(place, facts | {"sha256": {name: _digest(place / name) for name in _SAVED}})
    return place


def _name_class_for_all(path: Path) -> None:
    """Let the file name the class as transformers 4 and 5 know it; 5 writes a name that 4 does not."""
    settings = json.loads(path.read_text(encoding="utf-8")) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    path.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def save_facts(place: str | Path, facts: dict[str, Any]) -> None:
    """Write the facts of a model atomically.

    Args:
        place: The folder of the model.
        facts: How the model was made, and what was measured on it.
    """
    written = Path(place) / f"{_FACTS}.part"
    written.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(written, Path(place) / _FACTS)


def _place(name: str, folder: str | Path | None) -> Path:
    return (Path(str(files("xalign.babel"))) / "shipped" if folder is None else Path(folder)) / name


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
