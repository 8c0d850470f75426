"""Links of pairs: tokens of any tokenizer or function, words of tokens, and text that cannot be linked."""

import pytest

from tests.tiny import make_tokenizer
from xalign import ParallelPairs, load_pairs
from xalign.errors import ArgumentError, ArgumentTypeError, PairsError
from xalign.links import ALIGNERS, Aligner, OneWay
from xalign.links.link import link_pairs, link_tokens, tokens_of, word_links
from xalign.pairs.words import word_spans

PAIRS = load_pairs("bundled", ["deu_Latn", "rus_Cyrl"], n=40)


def words(text, language):
    return [text[start:end].lower() for start, end in word_spans(text, language)]


def test_links_of_a_tokenizer_count_its_own_tokens():
    tokenizer = make_tokenizer()
    links = link_pairs(PAIRS, tokenizer)
    assert list(links) == PAIRS.languages
    of_tokens = [
        [tokenizer(text, add_special_tokens=False)["input_ids"] for text in side]
        for side in (PAIRS["deu"].sentences, PAIRS["deu"].pivot_sentences)
    ]
    assert links["deu_Latn"] == link_tokens(*of_tokens)
    assert sum(map(len, links["deu_Latn"])) > 200
    for pair, one, other in zip(links["deu_Latn"], *of_tokens, strict=True):
        assert all(i < len(one) and j < len(other) for i, j in pair)
        assert len({i for i, _ in pair}) == len({j for _, j in pair}) == len(pair)


def test_links_of_words_find_translations():
    pairs = load_pairs("bundled", ["deu_Latn"])
    links = link_pairs(pairs, words, leave_one_out=True)
    found = {
        (words(text, "deu_Latn")[i], words(pivot, "eng_Latn")[j])
        for text, pivot, pair in zip(
            pairs["deu"].sentences, pairs["deu"].pivot_sentences, links["deu_Latn"], strict=True
        )
        for i, j in pair
    }
    assert {("und", "and"), ("ist", "is"), ("wir", "we")} <= found


def test_the_tokenizer_stays_as_it_was():
    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.enable_truncation(7)
    link_pairs(PAIRS.only(["deu"]), tokenizer)
    assert tokenizer.backend_tokenizer.truncation["max_length"] == 7
    tokenizer.backend_tokenizer.no_truncation()


def test_an_aligner_of_ones_own():
    def first(language, pivot, *, times=1):
        links = [[(0, 0)] * times for _ in language]
        return OneWay(links, (0.0,) * len(language)), OneWay(links, (0.0,) * len(pivot))

    own = Aligner("first", first, options=("times",))
    assert link_tokens([["a", "b"]], [["c"]], aligner=own, times=2) == [[(0, 0)]]
    with pytest.raises(ArgumentTypeError, match="aligner first has no option 'null'"):
        link_tokens([["a"]], [["c"]], aligner=own, null=0.1)
    with pytest.raises(ArgumentError, match="a word of letters"):
        Aligner("my own", first)
    with pytest.raises(ArgumentTypeError, match="the function of aligner x"):
        Aligner("x", lambda language: None)


def test_the_aligners_say_their_options():
    assert {name: one.name for name, one in ALIGNERS.items()} == {"ibm1": "ibm1", "eflomal": "eflomal"}
    assert set(ALIGNERS["ibm1"].options) == {
        "iterations", "null", "smoothing", "diagonal", "leave_one_out"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"aligner": "fast_align"}, ArgumentError, "one of ibm1, eflomal"),
        ({"aligner": 3}, ArgumentTypeError, "a name or an Aligner"),
        ({"how": "both"}, ArgumentError, "how='both'"),
        ({"iteration": 3}, ArgumentTypeError, "did you mean iterations"),
        ({"aligner": "eflomal", "null": 0.2}, ArgumentTypeError, "no option 'null'"),
    ],
)
def test_options_that_there_are_not(options, error, said):
    with pytest.raises(error, match=said):
        link_tokens([["a"]], [["b"]], **options)


def test_a_sentence_of_which_nothing_is_left():
    """A normaliser that keeps letters of one script leaves nothing of another."""
    pairs = ParallelPairs({"en": ["It rains.", "Good night."], "ru": ["Идёт дождь.", "Good!"]})

    def latin(text, language):
        return [letter for letter in text if letter.isascii() and letter.isalpha()]

    with pytest.raises(PairsError, match=r"no token of sentence\(s\) 0 of rus_Cyrl.*cannot be aligned"):
        link_pairs(pairs, latin)
    with pytest.raises(ArgumentTypeError, match="must be a tokenizer or a function"):
        tokens_of("bert", ["a"], "eng_Latn", ["0"])


def test_texts_are_no_tokens():
    with pytest.raises(ArgumentTypeError, match="lists of tokens, not texts"):
        link_tokens(["das Haus"], ["the house"])
    with pytest.raises(ArgumentTypeError, match="lists of tokens, not texts"):
        link_pairs(PAIRS, lambda text, language: text)


def test_links_of_words():
    links = [[(0, 0), (1, 1), (2, 1), (3, 3)], []]
    found = word_links(links, [[0, 0, 1, -1], [0]], [[0, 0, 1, 2], [0]])
    assert found == [[(0, 0), (1, 0)], []]
    with pytest.raises(ArgumentError, match="pair 0 has a link to a token that is not there"):
        word_links([[(0, 2)]], [[0]], [[0, 1]])
    with pytest.raises(ArgumentError, match="the same pairs"):
        word_links([[]], [[0], [0]], [[0]])
