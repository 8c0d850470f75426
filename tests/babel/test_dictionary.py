"""Babel's dictionaries hold its content words, and what they translate to stands in its sentences."""

import pytest

from xalign.babel import write_pairs
from xalign.babel.dictionary import babel_dictionary
from xalign.babel.lexicon import LANGUAGES, load_lexicon
from xalign.errors import ArgumentError
from xalign.pairs.code_switch import code_switch

OTHERS = [code for code in LANGUAGES.values() if code != "eng_Latn"]


@pytest.mark.parametrize("language", OTHERS)
def test_entries_are_content_words_of_both_sides(language):
    content = load_lexicon().content_words()
    dictionary = babel_dictionary(language)
    translations = {other for others in dictionary.entries.values() for other in others}
    assert set(dictionary.entries) <= content["eng_Latn"]
    assert translations <= content[language]
    assert len(dictionary) > 0.85 * len(content["eng_Latn"])


@pytest.mark.parametrize(
    ("language", "word", "translations"),
    [
        ("de", "baker", ("bäcker",)),
        ("es", "kitchen", ("cocina",)),
        ("ru", "baked", ("испёк", "испекла")),
        ("zh", "bread", ("面包",)),
        ("de", "dining", ()),
        ("de", "the", ()),
    ],
)
def test_entries_by_hand(language, word, translations):
    assert babel_dictionary(language).translations(word) == translations


@pytest.mark.parametrize("language", OTHERS)
def test_translations_stand_in_the_parallel_sentence(language):
    """Word by word, most of what is put into an English sentence is in its translation too."""
    pairs = write_pairs(200, 0, "held_out", languages=[language])
    dictionary = babel_dictionary(language)
    switched = code_switch(pairs[language].pivot_sentences, dictionary, share=1)
    assert dictionary.coverage(pairs[language].pivot_sentences) > 0.35
    found = total = 0
    for text, pivot, parallel in zip(
        switched[language].sentences, pairs[language].pivot_sentences, pairs[language].sentences, strict=True
    ):
        inside = [
            other for word in pivot.rstrip(".?").lower().split()
            for other in dictionary.translations(word) if other in text.lower()
        ]  # fmt: skip
        found += sum(other in parallel.lower() for other in inside)
        total += len(inside)
    assert total > 400
    assert found / total > 0.7


def test_other_languages_are_refused():
    for language in ("eng_Latn", "fra_Latn"):
        with pytest.raises(ArgumentError, match="not a language that Babel has beside English"):
            babel_dictionary(language)
