"""Bilingual dictionaries: files of two columns, look-up, and what is refused."""

import pytest

from xalign.errors import ArgumentError, ArgumentTypeError, PairsError
from xalign.pairs.dictionary import BilingualDictionary, load_dictionary


def write(tmp_path, text, name="en-de.txt"):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / name


def test_a_file_like_those_of_muse(tmp_path):
    path = write(tmp_path, "the der\nthe die\nhouse\tHaus\nOld alt\ndining room\tEsszimmer\nthe der\n")
    dictionary = load_dictionary(path)
    assert (dictionary.language, dictionary.pivot, dictionary.source) == ("deu_Latn", "eng_Latn", path.name)
    assert dictionary.entries == {
        "the": ("der", "die"), "house": ("Haus",), "Old": ("alt",), "dining room": ("Esszimmer",)
    }  # fmt: skip
    assert len(dictionary) == 4


@pytest.mark.parametrize(
    ("name", "options", "language", "entries"),
    [
        ("de-en.0-5000.txt", {}, "deu_Latn", {"b": ("a",)}),
        ("eng_Latn-zho_Hans.tsv", {}, "zho_Hans", {"a": ("b",)}),
        ("words.txt", {"language": "sw"}, "swh_Latn", {"a": ("b",)}),
        ("ru-de.txt", {"pivot": "de"}, "rus_Cyrl", {"b": ("a",)}),
    ],
)
def test_the_name_says_the_languages_and_the_order(tmp_path, name, options, language, entries):
    dictionary = load_dictionary(write(tmp_path, "a b\n", name), **options)
    assert (dictionary.language, dictionary.entries) == (language, entries)


@pytest.mark.parametrize(
    ("name", "text", "options", "error", "said"),
    [
        ("en-de.txt", "house Haus\nold\n", {}, PairsError, "line 2 has 1 column"),
        ("en-de.txt", "a b c\n", {}, PairsError, "line 1 has 3 column"),
        ("en-de.txt", "a\tb\tc\n", {}, PairsError, "line 1 has 3 column"),
        ("en-de.txt", "a\t \n", {}, PairsError, "line 1 has 2 column"),
        ("en-de.txt", "a b\n\nc d\n", {}, PairsError, "line 2 has 0 column"),
        ("en-de.txt", "", {}, PairsError, "is empty"),
        ("dictionary.txt", "a b\n", {}, ArgumentError, "names no pair with eng_Latn.*pass language="),
        ("fr-de.txt", "a b\n", {}, ArgumentError, "names no pair with eng_Latn"),
        ("en-xx.txt", "a b\n", {}, ArgumentError, "'xx' is unknown"),
        ("en-zh.txt", "a b\n", {}, ArgumentError, "'zh' is ambiguous"),
        ("en-de.txt", "a b\n", {"language": "q1"}, ArgumentError, "'q1' is unknown"),
        ("en-de.txt", "a b\n", {"language": "en"}, ArgumentError, "two languages"),
    ],
)
def test_files_that_are_refused(tmp_path, name, text, options, error, said):
    with pytest.raises(error, match=said):
        load_dictionary(write(tmp_path, text, name), **options)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(PairsError, match="cannot be read"):
        load_dictionary(tmp_path / "en-de.txt")


@pytest.mark.parametrize(
    ("entries", "error", "said"),
    [
        ({}, PairsError, "entries is empty"),
        ({"a": ()}, PairsError, "has an empty side"),
        ({" ": ("b",)}, PairsError, "has an empty side"),
        ({"a": "b"}, ArgumentTypeError, "must be a list of strings"),
        ({"a": (1,)}, ArgumentTypeError, "must be a string"),
        ({1: ("b",)}, ArgumentTypeError, "must be a string"),
        ([("a", "b")], ArgumentTypeError, "must map words"),
    ],
)
def test_entries_that_are_refused(entries, error, said):
    with pytest.raises(error, match=said):
        BilingualDictionary("de", "en", entries)


def test_words_are_found_as_written_and_then_in_any_case():
    dictionary = BilingualDictionary(
        "de", "en", {"Polish": ("polnisch",), "polish": ("polieren",), "I": ("ich",)}
    )
    assert dictionary.translations("Polish") == ("polnisch",)
    assert dictionary.translations("POLISH") == ("polnisch", "polieren")
    assert dictionary.translations("i") == ("ich",)


def test_coverage():
    dictionary = BilingualDictionary("de", "zh-Hans", {"面包": ("Brot",), "买": ("kaufen",)})
    assert dictionary.coverage(["他买面包。", "面包"]) == 3 / 4  # 他 has no translation
    with pytest.raises(PairsError, match="no word"):
        dictionary.coverage(["。"])
