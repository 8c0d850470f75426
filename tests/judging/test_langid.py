"""Many languages: on real text of each, by script, and what is refused."""

import sys

import pytest

from xalign import load_pairs
from xalign.errors import ArgumentError, ArgumentTypeError, MissingExtraError
from xalign.judging import ManyLanguages
from xalign.judging.identify import check_known


@pytest.fixture(scope="module")
def identify():
    return ManyLanguages()


def test_bundled_sentences(identify):
    for code, sentences in load_pairs("bundled").texts.items():
        right = sum(identify(sentence) == code for sentence in sentences[:50])
        assert right >= 45, (code, right)


@pytest.mark.realdata
def test_languages_of_real_text(identify, real_text):
    codes = ["swh_Latn", "tam_Taml", "fin_Latn", "arb_Arab", "jpn_Jpan", "kor_Hang", "hin_Deva"]
    pairs = load_pairs(real_text / "flores200", codes, n=40)
    for code in codes:
        assert sum(identify(sentence) == code for sentence in pairs[code].sentences) >= 36, code


def test_a_language_of_two_scripts_is_told_by_its_letters(identify):
    assert identify("Данас је леп дан у Београду, а сутра ће падати киша.") == "srp_Cyrl"
    chinese = ManyLanguages(["zh-Hans", "zh-Hant", "en"])  # among all, it may take this for Cantonese
    assert chinese("我们今天去学校学习汉语，因为老师会来。") == "zho_Hans"
    assert chinese("我們今天去學校學習漢語，因為老師會來。") == "zho_Hant"


@pytest.mark.thorough
def test_what_is_no_language_is_undetermined(identify):
    for text in ("", "12 / 34", "!!!", "🙂"):
        assert identify(text) == "und"
        assert ManyLanguages(["de", "en"], confidence=0)(text) == "und"
    assert identify("ok") == "und"  # one short word is below the threshold
    assert ManyLanguages(["de", "en"], confidence=0)("Regen") == "deu_Latn"


def test_only_the_chosen_languages_are_returned():
    among = ManyLanguages(["de", "eng_Latn", "zh-Hant"])
    assert among.labels == ["deu_Latn", "eng_Latn", "zho_Hant"]
    assert among("我们今天去学校学习汉语，因为老师会来。") == "zho_Hant"  # the only Chinese there is
    with pytest.raises(ArgumentError, match="knows deu_Latn, eng_Latn, zho_Hant, and not fra_Latn"):
        check_known(among, ["deu_Latn", "fra_Latn"])


def test_what_is_refused(identify):
    with pytest.raises(ArgumentError, match="languages=tlh_Latn not among the 1.. languages of py3langid"):
        ManyLanguages(["tlh_Latn"])
    with pytest.raises(ArgumentError, match="confidence=2 is a probability"):
        ManyLanguages(confidence=2)
    with pytest.raises(ArgumentTypeError, match="text must be a string"):
        identify(None)


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "py3langid", None)
    with pytest.raises(MissingExtraError, match=r"needs py3langid: pip install .*langid"):
        ManyLanguages()
