"""The sentences that benchmarks measure on, and a tokenizer trained on them."""

import os
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from xalign import ParallelPairs, load_pairs
from xalign.pairs.bitext import Bitext

LANGUAGES = ["deu_Latn", "fra_Latn", "rus_Cyrl", "zho_Hans"]


def parallel_sentences(n: int = 100) -> ParallelPairs:
    """Load NTREX sentences of the folder that XALIGN_DATA names; without it, as long ones of bundled text."""
    data = Path(os.environ.get("XALIGN_DATA") or "../shared/data") / "ntrex"
    if data.is_dir():
        return load_pairs(data, LANGUAGES, n=n)
    print(f"{data} is absent; measuring on bundled sentences, three joined to one")
    return longer_sentences(n)


def longer_sentences(n: int = 100, joined: int = 3) -> ParallelPairs:
    """Join bundled sentences, which are short, to ones about as long as those of news."""
    pairs = load_pairs("bundled")

    def longer(sentences):
        count = len(sentences)
        return tuple(" ".join(sentences[(row + k) % count] for k in range(joined)) for row in range(n))

    ids = tuple(map(str, range(n)))
    return ParallelPairs.from_bitexts(
        [
            Bitext(code, pairs.pivot, longer(bitext.sentences), longer(bitext.pivot_sentences), ids)
            for code, bitext in pairs.items()
        ]
    )


def byte_level_tokenizer(pairs: ParallelPairs, vocabulary: int = 8000) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer on the sentences themselves."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=alphabet, show_progress=False)
    texts = [text for bitext in pairs.values() for text in (*bitext.pivot_sentences, *bitext.sentences)]
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)
