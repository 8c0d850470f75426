"""Bias lists: those that ship say the same in five languages, files of users, and what is refused."""

import pytest

from xalign.bias.bias_list import WordSets, load_bias_list, shipped_lists
from xalign.errors import ArgumentError, ArgumentTypeError

FIVE = ["eng_Latn", "spa_Latn", "deu_Latn", "rus_Cyrl", "zho_Hans"]
FILE = """
about = "cats and dogs"
sets = { x = "cats", y = "dogs", a = "night", b = "day" }
[words.deu]
templates = ["Das ist {word}."]
x = ["eine Katze"]
y = ["ein Hund"]
a = ["der Mond"]
b = ["die Sonne"]
[pairs]
de = [["Die Katze schläft.", "Der Hund schläft."]]
"""


@pytest.mark.parametrize("name", shipped_lists())
def test_lists_that_ship_are_the_same_in_five_languages(name):
    found = load_bias_list(name)
    assert list(found.words) == FIVE and found.about
    sizes = {code: [len(getattr(one, key)) for key in "xyab"] for code, one in found.words.items()}
    assert len({tuple(size) for size in sizes.values()}) == 1 and min(sizes["eng_Latn"]) >= 6
    assert len({len(one.templates) for one in found.words.values()}) == 1
    assert len({len(pairs) for pairs in found.pairs.values()}) <= 1
    if found.pairs:
        assert list(found.pairs) == FIVE


def test_pairs_name_the_group_before_what_is_said_of_it():
    for pairs in load_bias_list("kin_and_work").pairs.values():
        for one, other in pairs:
            assert one != other and one[-2:] == other[-2:] and one[:2] != other[:2] or one[:4] == other[:4]


def test_a_file_of_ones_own(tmp_path):
    (tmp_path / "mine.toml").write_text(FILE, encoding="utf-8")
    found = load_bias_list(tmp_path / "mine.toml")
    assert found.words["deu_Latn"].sentences("x") == ["Das ist eine Katze."]
    assert found.pairs == {"deu_Latn": (("Die Katze schläft.", "Der Hund schläft."),)}


def test_sentences_are_each_word_in_every_template():
    words = WordSets(["one", "two"], ["three", "four"], ["five"], ["six"], ["a {word}", "b {word}"])
    assert words.sentences("x") == ["a one", "b one", "a two", "b two"]
    assert WordSets(["one"], ["two"], ["five"], ["six"]).sentences("y") == ["two"]


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"x": ["one", "two"]}, "x has 2 words and y has 1"),
        ({"x": []}, "x=.* at least one"),
        ({"a": ["two", "two"]}, "must hold different words"),
        ({"y": ["one"]}, "x and y both have 'one'"),
        ({"b": ["three"]}, "a and b both have 'three'"),
        ({"templates": ["no slot"]}, "must hold {word} once"),
    ],
)
def test_words_that_are_refused(changed, error):
    given = {"x": ["one"], "y": ["two"], "a": ["three"], "b": ["four"], "templates": ["{word}"]}
    with pytest.raises(ArgumentError, match=error):
        WordSets(**(given | changed))


def test_files_that_are_refused(tmp_path):
    with pytest.raises(ArgumentError, match="neither one of flowers_and_insects, kin_and_work nor a file"):
        load_bias_list("kin")
    with pytest.raises(ArgumentTypeError, match="must be the name of a list or a path"):
        load_bias_list(3)
    for text, error in (
        ("about =", "is no TOML file"),
        (FILE.replace("about", "concerning"), "concerning"),
        (FILE.replace('b = "day"', 'c = "day"'), "must name x, y, a and b"),
        (FILE.replace('x = ["eine Katze"]', "x = []"), "x"),
    ):
        (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
        with pytest.raises(ArgumentError, match=error):
            load_bias_list(tmp_path / "mine.toml")
