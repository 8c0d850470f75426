"""The identifier: on text it was not built from, and on what is in no language it knows."""

import pytest

from xalign import load_pairs
from xalign.babel import write_pairs
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.judging.identify import LanguageIdentifier, identify_language

FIVE = ["eng_Latn", "deu_Latn", "spa_Latn", "rus_Cyrl", "zho_Hans"]


@pytest.mark.parametrize("code", FIVE)
def test_flores(real_text, code):
    pairs = load_pairs(real_text / "flores200", [other for other in FIVE if other != "eng_Latn"], n=500)
    lines = pairs.texts[code]
    assert len(lines) == 500
    assert sum(identify_language(line) == code for line in lines) / 500 >= 0.98


@pytest.mark.parametrize("code", FIVE)
def test_babel(code):
    lines = write_pairs(300, seed=7, split="held_out").texts[code]
    assert sum(identify_language(line) == code for line in lines) / 300 >= 0.95


def test_the_bundled_sentences_are_in_neither(real_text):
    bundled = load_pairs("bundled")
    for other in (
        write_pairs(300, seed=7, split="held_out"),
        load_pairs(real_text / "flores200", bundled.languages, n=500),
    ):
        assert not any(bundled.overlap(other).values())


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "und"),
        ("42 + 1 = 43!", "und"),
        ("ありがとう", "und"),
        ("\U00017000", "und"),  # a letter that Python has no name for
        ("the", "eng_Latn"),
        ("Nachbarin", "deu_Latn"),
        ("被告 Baba Kanjar 被告", "zho_Hans"),
        ("Он читает New York Times каждое утро", "rus_Cyrl"),
    ],
)
def test_single_texts(text, code):
    assert identify_language(text) == code


def test_own_languages():
    identify = LanguageIdentifier(
        {"swh_Latn": ["Habari ya asubuhi, rafiki yangu."], "fin_Latn": ["Hyvää huomenta, ystäväni."]}
    )
    assert [identify("rafiki"), identify("ystävä"), identify("Привет")] == ["swh_Latn", "fin_Latn", "und"]


def test_bad_input():
    with pytest.raises(ArgumentError, match=r"texts has 1 label\(s\) \(eng_Latn\), and at least 2"):
        LanguageIdentifier({"eng_Latn": ["It rains."]})
    with pytest.raises(ArgumentTypeError, match="text must be a string, not 3"):
        identify_language(3)
