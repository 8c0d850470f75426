"""Words are tokens, languages share none, and anything else can be written too."""

import pytest

from xalign import load_pairs
from xalign.babel.lexicon import LANGUAGES, load_lexicon
from xalign.babel.splits import take_meanings
from xalign.babel.templates import function_words
from xalign.babel.tokenizer import make_tokenizer, tokenizer_shares


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


def test_shares(tokenizer):
    one_token, shared = tokenizer_shares(tokenizer)
    assert one_token >= 0.95
    assert shared == 0


def test_a_content_word_is_no_word_of_another_language_at_all(tokenizer):
    lexicon, functional = load_lexicon(), function_words()
    for code, words in lexicon.content_words().items():
        for other in LANGUAGES.values():
            if other != code:
                assert not words & (lexicon.words()[other] | functional[other])


def test_sentences_are_their_words(tokenizer):
    """Also in Chinese, where the tokenizer must find the words; and nothing is in bytes."""
    for meaning in take_meanings(1000, 1):
        for code in LANGUAGES.values():
            tokens = tokenizer.tokenize(meaning.sentence(code))
            assert not [token for token in tokens if token.startswith("<0x")]
            noun = load_lexicon().objects[meaning.object].forms[code][""].split()[-1].lower()
            assert noun in [token.removeprefix("▁") for token in tokens]


def test_no_token_names_a_language(tokenizer):
    """The first token of a sentence is a word of it, or the question mark that Spanish opens with."""
    for code in LANGUAGES.values():
        first = {tokenizer.tokenize(meaning.sentence(code))[0] for meaning in take_meanings(500, 2)}
        assert len(first) > 20 or code in ("eng_Latn", "spa_Latn", "deu_Latn")
        assert "▁" not in first


def test_it_encodes_any_text(tokenizer):
    for text in ["Hello, wörld!", "Привет 😀", "你好，世界", "a\tb\nc", "ﬁ", ""]:
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.unk_token_id not in ids
    bundled = load_pairs("bundled", n=20)
    for bitext in bundled.values():
        for sentence in bitext.sentences:
            decoded = tokenizer.decode(tokenizer(sentence)["input_ids"], skip_special_tokens=True)
            assert decoded.replace(" ", "") == sentence.lower().replace(" ", "")


def test_documents_end_and_begin_as_they_should(tokenizer):
    ids = tokenizer("Es regnet. <sep> 下雨。")["input_ids"]
    tokens = tokenizer.convert_ids_to_tokens(ids)
    assert tokens[0] == "<bos>"
    assert tokens.count("<sep>") == 1
    assert "▁" not in tokens
