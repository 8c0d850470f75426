"""Models from the Hub or from disk, and text, with errors in one line."""

import json
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, cast

import torch
import transformers
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedTokenizerBase,
)

from xalign.cli.options import listed
from xalign.errors import ArgumentError, MissingExtraError
from xalign.extras import install_command
from xalign.measurement.options import ReadOptions
from xalign.model.architectures.map import map_model
from xalign.model.inputs import TextOptions
from xalign.model.language_marks import codes_of_text
from xalign.pairs.load import load_pairs
from xalign.pairs.parallel import ParallelPairs

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Loaded = tuple[nn.Module, Any]


def load_text(pairs: str, languages: str | None, pivot: str, n: int | None) -> ParallelPairs:
    """Load parallel sentences, with the languages as a user types them: separated by commas."""
    return load_pairs(pairs, None if languages is None else listed(languages), pivot, n)


def measure_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a measurement among the arguments of a command.

    Args:
        given: Name -> value of all arguments.

    Raises:
        ArgumentError: `source_codes` in another form.
    """
    names = [one.name for options in (TextOptions, ReadOptions) for one in fields(options)]
    chosen = {name: given[name] for name in names if name in given}
    if chosen.get("source_codes") is not None:
        chosen["source_codes"] = codes_of_text(chosen["source_codes"])
    return {name: one.value if isinstance(one, StrEnum) else one for name, one in chosen.items()}


def load_model(
    name: str,
    *,
    revision: str | None = None,
    tokenizer: str | None = None,
    dtype: Dtype = "auto",
    device: str = "auto",
    trust_remote_code: bool = False,
    progress: bool = True,
    is_audio: bool = False,
) -> Loaded:
    """Load a model, and its tokenizer or its feature extractor.

    Args:
        name: Hub id, or a folder. For a folder with an adapter, its base model is loaded too.
        revision: Branch, tag or commit on the Hub.
        tokenizer: Hub id or folder of another tokenizer than the model's own.
        dtype: `auto` keeps the checkpoint's.
        device: `auto` takes the first CUDA device, else the CPU.
        trust_remote_code: Run code that comes with the model.
        progress: Show bars while loading.
        is_audio: Load its feature extractor, for recordings, in place of its tokenizer.

    Returns:
        The model in evaluation mode, and the tokenizer or the feature extractor.

    Raises:
        ArgumentError: It cannot be loaded, or the device does not exist.
        MissingExtraError: It has an adapter, and peft is not installed.
    """
    if not progress:
        transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    place = checked_device(device)
    check_source("model", name)
    if not (Path(name) / "adapter_config.json").is_file():
        return _load(name, revision, tokenizer, dtype, place, trust_remote_code, is_audio)
    base = _base_of_adapter(Path(name))
    own_tokenizer = name if (Path(name) / "tokenizer_config.json").is_file() else None
    model, found = load_model(
        base,
        tokenizer=tokenizer or own_tokenizer,
        dtype=dtype,
        device=device,
        trust_remote_code=trust_remote_code,
        progress=progress,
        is_audio=is_audio,
    )
    from peft import PeftModel

    return PeftModel.from_pretrained(model, name).eval(), found


def check_source(argument: str, name: str) -> None:
    """Refuse what is neither a folder that can be read nor a Hub id.

    Raises:
        ArgumentError: An empty name, one that no system takes, or one with a pipe or a device behind it.
    """
    if not name.strip():
        raise ArgumentError(f"{argument}={name!r} is empty; give a folder or a Hub id")
    try:
        Path(name).exists()
    except OSError as error:
        raise ArgumentError(f"{argument}={name!r:.80} is no path and no Hub id: {error.strerror}") from None
    refuse_special_files(Path(name))


def refuse_special_files(path: Path) -> None:
    """Refuse a pipe, a device or a socket at a path or in a folder: to open or read one may never end.

    Raises:
        ArgumentError: There is one.
    """
    try:
        found = [path, *path.iterdir()] if path.is_dir() else [path]
        modes = {one: one.stat().st_mode for one in found if one.exists()}
    except (OSError, ValueError):  # said better by what reads it
        return
    for one, mode in modes.items():
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise ArgumentError(f"{str(one)!r} is no regular file but a pipe, a device or a socket")


def checked_device(device: str) -> str:
    """Return the name of a device that is there.

    Raises:
        ArgumentError: It is not there, or it holds no values.
    """
    place = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:
        raise ArgumentError(
            f"device={device!r:.80} is not there: {str(error).splitlines()[0]:.200}"
        ) from None
    if torch.device(place).type == "meta":
        raise ArgumentError("device='meta' holds no values to compute with; take cpu or cuda")
    return place


def load_tokenizer(name: str, **options: Any) -> PreTrainedTokenizerBase:
    """Load a tokenizer.

    Args:
        name: Hub id, or a folder.
        **options: Of `from_pretrained`.

    Raises:
        ArgumentError: It cannot be loaded.
    """
    check_source("tokenizer", name)
    with _said_in_one_line(f"tokenizer {name!r:.80}"):
        return cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(name, **options))


@contextmanager
def _said_in_one_line(what: str) -> Iterator[None]:
    """Make what loading raises an error of one line.

    Raises:
        ArgumentError: It cannot be loaded.
    """
    try:
        yield
    except (OSError, ValueError, TypeError, ImportError, KeyError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ArgumentError(f"{what} cannot be loaded: {reason:.300}") from error


def check_text(argument: str, text: str | None) -> None:
    """Refuse text that is not valid Unicode, as a terminal in another encoding may give it.

    Raises:
        ArgumentError: It is not.
    """
    if text is not None and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ArgumentError(
            f"{argument}={text!r:.80} is not valid UTF-8; is the terminal in another encoding?"
        )


def _base_of_adapter(folder: Path) -> str:
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    base: str | None = config.get("base_model_name_or_path")
    if not base:
        raise ArgumentError(f"{str(folder)!r} holds an adapter that does not name its base model")
    if find_spec("peft") is None:
        raise MissingExtraError(f"adapters need peft: {install_command('train')}")
    return base


def _load(
    name: str,
    revision: str | None,
    tokenizer: str | None,
    dtype: Dtype,
    place: str,
    trust_remote_code: bool,
    is_audio: bool,
) -> Loaded:
    common = {"revision": revision, "trust_remote_code": trust_remote_code}
    with _said_in_one_line(f"model {name!r:.200}"):
        config = AutoConfig.from_pretrained(name, **common)
        # The head of a language model costs one position; other heads are left off.
        causal = any(arch.endswith(("ForCausalLM", "LMHeadModel")) for arch in config.architectures or [])
        loader = AutoModelForCausalLM if causal else AutoModel
        weights = dtype if dtype == "auto" else getattr(torch, dtype)
        loading: Any = {"dtype": weights, "output_loading_info": True, **common}
        model, info = cast(tuple[nn.Module, dict[str, Any]], loader.from_pretrained(name, **loading))
    _check_weights(name, model, info["missing_keys"])
    if tokenizer is not None:
        return model.to(place).eval(), load_tokenizer(tokenizer)
    processing = AutoFeatureExtractor if is_audio else AutoTokenizer
    what = "feature extractor, which recordings need," if is_audio else "tokenizer, which text needs,"
    with _said_in_one_line(f"the {what} of model {name!r:.200}"):
        return model.to(place).eval(), processing.from_pretrained(name, **common)


def _check_weights(name: str, model: nn.Module, missing: Iterable[str]) -> None:
    """Refuse a model of which blocks were drawn at random, because its folder does not hold them.

    Raises:
        ArgumentError: A weight in a block of the model is missing. Others, such as those of a pooler on top,
            are not measured.
    """
    if not missing:
        return
    found = map_model(model)
    blocks = tuple(f"{block.path}." for stack in found.stacks for block in found.stack(stack).blocks)
    absent = sorted(key for key in missing if key.startswith(blocks))
    if absent:
        raise ArgumentError(
            f"model {name!r:.200} does not hold {len(absent)} of the weights of its blocks, {absent[0]} "
            "among them, so that these would be random. Was it saved as another class than "
            f"{type(model).__name__}?"
        )
