"""Words in contexts, pairs of senses with controls, and lists of words without labels."""

import pytest

from xalign import ParallelItems
from xalign.errors import ArgumentError, ArgumentTypeError, PairsError
from xalign.pairs.item import Choice, WordSense
from xalign.pairs.lexicon import Word, find_word, sense_pairs, single_words


@pytest.mark.parametrize(
    ("text", "word", "language", "span"),
    [
        ("Households and a House.", "house", "eng_Latn", (17, 22)),
        ("Households.", "house", "eng_Latn", None),
        ("ψυχή ἐστιν", "Ψυχή", "grc_Grek", (0, 4)),
        ("ἄλγε᾽ ἔθηκε", "ἄλγε᾽", "grc_Grek", (0, 5)),
        ("हूँ", "ह", "hin_Deva", None),  # the vowel sign belongs to the word
        ("我在面包店里", "面包", "zho_Hans", (2, 4)),
        ("a.c abc", "a.c", "eng_Latn", (0, 3)),
    ],
)
def test_where_a_word_stands(text, word, language, span):
    assert find_word(text, word, language) == span


def test_a_word_and_its_contexts():
    word = Word("de", ("Haus", "Gebäude"), ["Das alte Gebäude.", "Ein Haus, das Gebäude."])
    assert word.language == "deu_Latn"
    assert word.occurrences == [("Das alte Gebäude.", (9, 16)), ("Ein Haus, das Gebäude.", (4, 8))]
    assert Word("de", "Haus").occurrences == [("Haus", (0, 4))]
    assert Word("de", ["a", "b"]).occurrences == [("a", (0, 1)), ("b", (0, 1))]
    assert hash(word) == hash(Word("deu", ["Haus", "Gebäude"], word.contexts))


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (("de", "Haus", ["Ein Haus.", "Häuser."]), PairsError, "context 1 of 'Haus' .* does not hold it"),
        (("en", "house", ["Households."]), PairsError, "does not hold it as a word of its own"),
        (("de", ()), PairsError, "one or more"),
        (("de", ("a", "a")), PairsError, "one or more"),
        (("de", (" ",)), PairsError, "none empty"),
        (("xx", "a"), ArgumentError, "'xx' is unknown"),
        (("de", 3), ArgumentTypeError, "forms must be a list"),
        (("de", "a", "a b"), ArgumentTypeError, "contexts must be a list"),
    ],
)  # fmt: skip
def test_words_that_are_refused(arguments, error, said):
    with pytest.raises(error, match=said):
        Word(*arguments)


def senses(n=6):
    return ParallelItems(
        {
            code: [WordSense(str(k), (f"{code}{chr(97 + k)}",)) for k in range(n)]
            for code in ("en", "de", "fr")
        }
    )


@pytest.mark.parametrize("seed", range(3))
def test_related_and_control_pairs(seed):
    related, control = sense_pairs(senses(), "de", seed=seed)
    assert [(one.forms[0], other.forms[0]) for one, other in related] == [
        (f"de{letter}", f"en{letter}") for letter in "abcdef"
    ]
    assert [one for one, _ in control] == [one for one, _ in related]
    assert sorted(other.forms for _, other in control) == sorted(other.forms for _, other in related)
    assert not set(control) & set(related)
    assert sense_pairs(senses(), "deu", seed=seed)[1] == control
    assert sense_pairs(senses(), "de", seed=seed + 9)[1] != control


def test_pairs_that_are_refused():
    with pytest.raises(ArgumentError, match="one of deu_Latn, fra_Latn"):
        sense_pairs(senses(), "en")
    with pytest.raises(ArgumentError, match="one of deu_Latn, fra_Latn"):
        sense_pairs(senses(), "es")
    choices = ParallelItems({"en": [Choice("a", ("b", "c"))] * 2})
    for function in (single_words, lambda items: sense_pairs(items, "en")):
        with pytest.raises(ArgumentTypeError, match="words by sense.* of choices"):
            function(choices)


def test_labels_are_left_out():
    items = ParallelItems(
        {
            "en": [WordSense(*one) for one in (("1", ("I", "1 sg.")), ("2", ("burn tr.",)), ("3", ("sea",)))],
            "de": [
                WordSense("1", ("ich",), ("Wenn ich gehe.",)),
                WordSense("2", ("brennen",)),
                WordSense("3", ("das Meer", "See"), ("Am See.", "Das Meer, das Meer.")),
            ],
        },
        ids=["a", "b", "c"],
        source="list",
    )
    found = single_words(items)
    assert found.ids == ("a", "c")
    assert [one.words for one in found["en"]] == [("I",), ("sea",)]
    assert [(one.words, one.contexts) for one in found["de"]] == [
        (("ich",), ("Wenn ich gehe.",)), (("See",), ("Am See.",))
    ]  # fmt: skip
    assert found.source == "list, 1 of 3 senses without a single word left out"
    with pytest.raises(PairsError, match="1 of 2 senses"):
        single_words(items.rows([1, 2]))
