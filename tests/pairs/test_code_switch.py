"""Code-switched pairs: how many words are replaced, how they are written, and what is refused."""

import random

import pytest

from tests.tiny import make_model, make_tokenizer
from xalign import load_pairs
from xalign.errors import ArgumentError, ArgumentTypeError, PairsError
from xalign.model.inputs import Inputs
from xalign.pairs.code_switch import code_switch
from xalign.pairs.dictionary import BilingualDictionary
from xalign.pairs.word_pairs import word_pairs
from xalign.training.pair_stream import PairStream

GERMAN = BilingualDictionary(
    "de", "en", {"old": ("alt",), "house": ("Haus", "Gebäude"), "is": ("ist",), "Berlin": ("Berlin",)}
)
CHINESE = BilingualDictionary("zh-Hans", "en", {"old": ("老",), "house": ("房子",), "is": ("是",)})
ENGLISH = BilingualDictionary("en", "zh-Hans", {"买": ("buys",), "面包": ("bread",)})
TEXTS = ["The old house is old.", "My house, Berlin."]


def switched(texts, dictionary, **options):
    (bitext,) = code_switch(texts, dictionary, **options).values()
    return bitext.sentences


def test_every_word_that_the_dictionary_has():
    pairs = code_switch(TEXTS, GERMAN, share=1, seed=3, ids=["one", "two"])
    bitext = pairs["deu_Latn"]
    assert bitext.pivot_sentences == tuple(TEXTS)
    assert bitext.ids == ("one", "two")
    assert bitext.sentences[0] in ("The alt Haus ist alt.", "The alt Gebäude ist alt.")
    assert bitext.sentences[1] in ("My Haus, Berlin.", "My Gebäude, Berlin.")
    assert pairs.source == "code-switched, share 1.0, seed 3"


def test_one_word_with_several_translations_gets_each_of_them():
    texts = [f"house {row}" for row in range(40)]
    found = [text.split()[0] for text in switched(texts, GERMAN)]
    assert 10 < found.count("Haus") < 30
    assert set(found) == {"Haus", "Gebäude"}


@pytest.mark.parametrize(("share", "replaced"), [(0.01, 1), (0.2, 2), (0.5, 5), (0.9, 8), (1, 8)])
def test_the_share_of_words(share, replaced):
    """Ten words, of which the dictionary has eight."""
    words = [f"w{number}" for number in range(8)] + ["x", "y"]
    random.Random(0).shuffle(words)
    dictionary = BilingualDictionary("de", "en", {f"w{number}": (f"d{number}",) for number in range(8)})
    for text in switched([" ".join(words), " ".join(reversed(words))], dictionary, share=share):
        assert sum(word.startswith("d") for word in text.split()) == replaced


def test_draws_depend_on_seed_row_and_language_alone():
    texts = [f"old house is {row}" for row in range(30)]
    alone = switched(texts, GERMAN, seed=1)
    both = code_switch(texts, [CHINESE, GERMAN], seed=1)
    assert both["deu_Latn"].sentences == alone
    assert switched(texts[:10], GERMAN, seed=1) == alone[:10]
    assert switched(texts, GERMAN, seed=2) != alone


@pytest.mark.parametrize(
    ("text", "dictionary", "found"),
    [
        # Chinese words side by side are written without spaces; what stands between others stays.
        ("The old house is old, old.", CHINESE, "The 老房子是老, 老."),
        ("old red house", CHINESE, "老 red 房子"),
        # Words with spaces get them in Chinese text.
        ("他买面包。", ENGLISH, "他 buys bread。"),
        ("买，他", BilingualDictionary("en", "zh-Hans", {"买": ("buy",)}), "buy，他"),
        ("买他", BilingualDictionary("jpn", "zh-Hans", {"买": ("買う",)}), "買う他"),
        # A capital stays; a script without capitals has none.
        ("Old houses", BilingualDictionary("de", "en", {"old": ("alte",)}), "Alte houses"),
        ("Old houses", CHINESE, "老 houses"),
    ],
)  # fmt: skip
def test_how_words_are_written(text, dictionary, found):
    assert switched([text, f"{text} {text}"], dictionary, share=1)[0] == found


def test_texts_without_a_word_of_the_dictionary():
    texts = ["The old house.", "Nothing here.", "It is old."]
    with pytest.raises(PairsError, match=r"no word to replace in 1 of 3 texts: 1; pass unswitched='drop'"):
        code_switch(texts, GERMAN)
    pairs = code_switch(texts, [GERMAN, CHINESE], unswitched="drop")
    assert pairs["deu_Latn"].ids == pairs["zho_Hans"].ids == ("0", "2")
    assert pairs.source.endswith("2 dropped")
    with pytest.raises(PairsError, match=r"\(eng_Latn to deu_Latn\) has no word of the 2 texts"):
        code_switch(["Берлин", "Berlin"], GERMAN, unswitched="drop")  # Berlin translates to itself


@pytest.mark.parametrize(
    ("dictionaries", "options", "error", "said"),
    [
        (GERMAN, {"share": 0}, ArgumentError, "above 0 and at most 1"),
        (GERMAN, {"share": 1.5}, ArgumentError, "above 0 and at most 1"),
        (GERMAN, {"unswitched": "keep"}, ArgumentError, "'refuse' or 'drop'"),
        (GERMAN, {"seed": -1}, ArgumentError, "seed"),
        (GERMAN, {"ids": ["a"]}, PairsError, "1 entries for 2 texts"),
        ([GERMAN, GERMAN], {}, ArgumentError, "each another language"),
        ([GERMAN, BilingualDictionary("ru", "de", {"a": ("b",)})], {}, ArgumentError, "one pivot"),
        ([], {}, ArgumentTypeError, "load_dictionary"),
        ({"old": "alt"}, {}, ArgumentTypeError, "load_dictionary"),
        (["en-de.txt"], {}, ArgumentTypeError, "must hold BilingualDictionary"),
    ],
)
def test_bad_input(dictionaries, options, error, said):
    with pytest.raises(error, match=said):
        code_switch(TEXTS, dictionaries, **options)


def test_the_bundled_text_with_a_small_dictionary():
    texts = load_pairs("bundled").texts["eng_Latn"]
    dictionary = BilingualDictionary("es", "en", {"the": ("el", "la"), "a": ("un",), "is": ("es",)})
    pairs = code_switch(texts, dictionary, share=0.3, unswitched="drop")
    assert len(pairs["spa"]) > 100
    for text, pivot in zip(pairs["spa"].sentences, pairs["spa"].pivot_sentences, strict=True):
        assert text != pivot
        assert len(text.split()) == len(pivot.split())


def test_word_pairs_are_the_entries():
    pairs = word_pairs([GERMAN, CHINESE])
    bitext = pairs["deu_Latn"]
    assert list(zip(bitext.pivot_sentences, bitext.sentences, strict=True)) == [
        ("old", "alt"), ("house", "Haus"), ("house", "Gebäude"), ("is", "ist"), ("Berlin", "Berlin")
    ]  # fmt: skip
    assert len(pairs["zho_Hans"]) == 3
    with pytest.raises(PairsError, match="at least 2 are needed"):
        word_pairs(BilingualDictionary("de", "en", {"old": ("alt",)}))


def test_pairs_that_share_a_word_are_no_negatives_of_each_other():
    german = BilingualDictionary("de", "en", {"house": ("Haus", "Gebäude", "Heim"), "old": ("alt",)})
    pairs = word_pairs([german, CHINESE])
    stream = PairStream(
        pairs, Inputs(make_model("llama"), make_tokenizer()), batch_size=6, languages_per_batch=2
    )
    drawn = stream.draw(0)
    words = [pairs[code].pivot_sentences[int(row)] for code, row in drawn.names]
    assert len(set(words)) < len(words)
    for word, numbers in zip(words, drawn.same.tolist(), strict=True):
        shared = [other[1] == numbers[1] for other in drawn.same.tolist()]
        assert shared == [word == other for other in words]
