"""Words of text in scripts with and without spaces."""

import pytest

from xalign.errors import ArgumentError
from xalign.pairs.words import word_spans, writes_spaces


def words(text, language, known=None):
    return [text[start:end] for start, end in word_spans(text, language, known)]


@pytest.mark.parametrize(
    ("text", "language", "found"),
    [
        ("Don't go -- it's 3 o’clock!", "eng_Latn", ["Don't", "go", "it's", "3", "o’clock"]),
        ("Der Haus-Meister, «alt».", "deu_Latn", ["Der", "Haus-Meister", "alt"]),
        ("¿Qué? Él.", "spa_Latn", ["Qué", "Él"]),
        ("идёт дождь", "rus_Cyrl", ["идёт", "дождь"]),
        ("मैं घर पर हूँ।", "hin_Deva", ["मैं", "घर", "पर", "हूँ"]),
        ("نمی\u200cدانم چه", "pes_Arab", ["نمی\u200cدانم", "چه"]),
        ("μῆνιν ἄλγε᾽ ἔθηκε", "grc_Grek", ["μῆνιν", "ἄλγε᾽", "ἔθηκε"]),
        ("e\u0301te\u0301", "fra_Latn", ["e\u0301te\u0301"]),
        ("...", "eng_Latn", []),
    ],
)
def test_with_spaces(text, language, found):
    assert words(text, language) == found


@pytest.mark.parametrize(
    ("text", "language", "known", "found"),
    [
        ("他买面包。", "zho_Hans", {"面包", "面", "买"}, ["他", "买", "面包"]),
        ("面包师卖面包", "zho_Hans", ["面包", "面包师", "师卖"], ["面包师", "卖", "面包"]),
        ("私は学生です。", "jpn_Jpan", {"学生": 1, "です": 1}, ["私", "は", "学生", "です"]),
        ("ฉันกินข้าว", "tha_Thai", {"กิน", "ข้าว", "ฉัน"}, ["ฉัน", "กิน", "ข้าว"]),
        # A known word ends where a sign ends with its marks: ข้า is no word of this text.
        ("ข้าว", "tha_Thai", {"ข"}, ["ข้", "า", "ว"]),
        ("我用 Python", "zho_Hans", {"Python"}, ["我", "用", "Python"]),
        ("。", "zho_Hans", set(), []),
    ],
)
def test_without_spaces(text, language, known, found):
    assert words(text, language, known) == found


def test_without_spaces_words_must_be_known():
    with pytest.raises(ArgumentError, match="jpn_Jpan is written without spaces.*known="):
        word_spans("私は", "jpn_Jpan")
    assert [writes_spaces(code) for code in ("kor_Hang", "zho_Hant", "bod_Tibt")] == [True, False, False]
