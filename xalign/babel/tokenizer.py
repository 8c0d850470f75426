"""Babel's tokenizer: each word of Babel is one token, and other text is split into bytes."""

import re
from collections import Counter

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from xalign.babel.lexicon import load_lexicon
from xalign.babel.templates import function_words

SEPARATOR = "<sep>"
"""Separates a sentence from its translation in a document. It is the same for all languages."""

_SPECIAL = ("<pad>", "<bos>", "<eos>", SEPARATOR, "<unk>")


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Build the tokenizer from the lexicon and the templates; nothing is trained.

    There is no token for a language. Text is lower-cased. Chinese sentences are split into the fewest tokens
    that spell them. Text that contains other words than Babel's is split into UTF-8 bytes there.

    Example:
        >>> tokenizer = make_tokenizer()
        >>> tokenizer.tokenize("Der Bäcker verkauft Brot.")
        ['▁der', '▁bäcker', '▁verkauft', '▁brot', '.']
        >>> tokenizer.tokenize("面包师卖面包。")
        ['面包师', '卖', '面包', '。']
    """
    tokenizer = Tokenizer(models.Unigram(_vocabulary(), unk_id=_SPECIAL.index("<unk>"), byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFC(),
            normalizers.Lowercase(),
            normalizers.Strip(),
            normalizers.Replace("¿", "¿ "),
            normalizers.Prepend("▁"),
            normalizers.Replace(Regex(r"\s+"), "▁"),
            normalizers.Replace(Regex(r"▁(?=\p{Han})"), ""),
        ]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, lstrip=True, rstrip=True) for token in _SPECIAL]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", _SPECIAL.index("<bos>"))]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        sep_token=SEPARATOR,
        unk_token="<unk>",
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],  # transformers 4 adds token types
    )


def _vocabulary() -> list[tuple[str, float]]:
    """Return all tokens with their log-probabilities: words are preferred to bytes."""
    words: dict[str, None] = {}
    content, functional = load_lexicon().words(), function_words()
    for language in content:
        for word in sorted(content[language] | functional[language]):
            spaced = language != "zho_Hans" and re.match(r"\w|¿", word)
            words[f"▁{word}" if spaced else word] = None
    return [
        *((token, 0.0) for token in _SPECIAL),
        *((f"<0x{byte:02X}>", -10.0) for byte in range(256)),
        ("▁", -5.0),
        *((word, -1.0) for word in words),
    ]


def tokenizer_shares(tokenizer: PreTrainedTokenizerBase) -> tuple[float, float]:
    """Compute how many content words are one token, and how many of these tokens two languages share.

    Args:
        tokenizer: Babel's tokenizer.

    Returns:
        Two shares in [0, 1]: how many content words are one token, which should be near 1, and how many of
        these tokens occur in several languages, which should be 0.

    Example:
        >>> tokenizer_shares(make_tokenizer())
        (1.0, 0.0)
    """
    tokens = {
        code: [tokenizer.tokenize(word) for word in words]
        for code, words in load_lexicon().content_words().items()
    }
    words = [pieces for of_language in tokens.values() for pieces in of_language]
    speakers = Counter(
        token for of_language in tokens.values() for token in {pieces[0] for pieces in of_language}
    )
    return (
        sum(len(pieces) == 1 for pieces in words) / len(words),
        sum(count > 1 for count in speakers.values()) / len(speakers),
    )
