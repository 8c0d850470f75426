"""Which word each token belongs to: against `str.split` and what the tokens decode to."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizer

from tests.tiny import make_model, make_tokenizer
from xalign.errors import ArgumentError
from xalign.model.inputs import Inputs, TextOptions
from xalign.model.words import words_of_tokens

LETTERS = st.text(st.sampled_from("aäe漢語ß.!  \t\n\x1c\u3000"), min_size=1, max_size=20)


@settings(max_examples=30)
@given(LETTERS.filter(str.strip))
def test_words_are_those_of_split(sentence):
    """Every word has tokens, in order, and the bytes of a word's tokens are those of the word."""
    tokenizer = make_tokenizer()
    (numbers,) = words_of_tokens(tokenizer, [sentence])
    words = sentence.split()
    own = [number for number in numbers if number >= 0]
    assert own == sorted(own)
    assert set(own) == set(range(len(words)))
    ids = tokenizer(sentence)["input_ids"]
    for word, text in enumerate(words):
        tokens = [one for one, number in zip(ids, numbers, strict=True) if number == word]
        assert text in tokenizer.decode(tokens)


def test_special_tokens_and_those_of_a_template_are_of_no_word():
    tokenizer = make_tokenizer()
    (plain,) = words_of_tokens(tokenizer, ["It rains."])
    assert plain[0] == -1  # <s>
    (framed,) = words_of_tokens(tokenizer, ["It rains."], template="say now: {text} or not")
    assert set(framed) == {-1, 0, 1}
    own = [place for place, number in enumerate(framed) if number >= 0]
    text = tokenizer.decode([tokenizer("say now: It rains. or not")["input_ids"][place] for place in own])
    assert text.strip() == "It rains."


def test_inputs_know_the_words_of_what_they_encode():
    inputs = Inputs(make_model("llama"), make_tokenizer())
    options = TextOptions(template="say: {text}")
    encoded = inputs.encode(["Good night."], options=options)
    (numbers,) = inputs.words(["Good night."], options=options)
    assert len(numbers) == len(encoded.ids[0])
    assert [number >= 0 for number in numbers] == list(encoded.pooled[0])


class Slow(PreTrainedTokenizer):
    def __init__(self):
        super().__init__()

    @property
    def vocab_size(self):
        return 3

    def get_vocab(self):
        return {}


def test_a_slow_tokenizer_is_refused():
    with pytest.raises(ArgumentError, match="words need a fast tokenizer, .* Slow is slow; load it with"):
        words_of_tokens(Slow(), ["It rains."])
