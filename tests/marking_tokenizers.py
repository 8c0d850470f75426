"""Tokenizers of transformers that mark sentences with their language, trained on the bundled sentences."""

import io
import json
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import sentencepiece
from transformers import M2M100Tokenizer, MBart50Tokenizer, MBartTokenizer, NllbTokenizer

from tests.tiny import make_tokenizer
from tests.versions.require import require
from xalign import load_pairs

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]


@cache
def _pieces() -> list[str]:
    """The characters of the bundled sentences."""
    require("its tokenizers are made of files", transformers="5.0")
    pairs = load_pairs("bundled")
    texts = [text for bitext in pairs.values() for text in (*bitext.pivot_sentences, *bitext.sentences)]
    return ["▁", *sorted(set("".join(texts)) - {" "})]


def make_nllb(**options) -> NllbTokenizer:
    """NLLB's tokenizer with three languages."""
    options = {"extra_special_tokens": ["deu_Latn", "eng_Latn", "zho_Hans"], **options}
    vocabulary = {piece: index for index, piece in enumerate([*SPECIAL, *_pieces()])}
    return NllbTokenizer(vocab=vocabulary, merges=[], **options)


def make_mbart(**options) -> MBartTokenizer:
    """mBART's tokenizer, which puts its mark last."""
    return MBartTokenizer(vocab=[(piece, 0.0) for piece in [*SPECIAL, *_pieces()]], **options)


def make_mbart50(**options) -> MBart50Tokenizer:
    """mBART-50's tokenizer, which puts its mark first."""
    return MBart50Tokenizer(vocab=[(piece, 0.0) for piece in [*SPECIAL, *_pieces()]], **options)


def make_m2m100() -> M2M100Tokenizer:
    """M2M100's tokenizer with all of its languages."""
    pairs = load_pairs("bundled")
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(pairs["deu_Latn"].sentences),
        model_writer=model,
        vocab_size=120,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    folder = Path(mkdtemp())
    (folder / "spm.model").write_bytes(model.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    pieces = [processor.id_to_piece(number) for number in range(3, processor.get_piece_size())]
    (folder / "vocab.json").write_text(
        json.dumps({piece: number for number, piece in enumerate([*SPECIAL, *pieces])}), encoding="utf-8"
    )
    return M2M100Tokenizer(str(folder / "vocab.json"), str(folder / "spm.model"))


MARKING = {"nllb": make_nllb, "mbart": make_mbart, "mbart50": make_mbart50, "m2m100": make_m2m100}
PLAIN = make_tokenizer
