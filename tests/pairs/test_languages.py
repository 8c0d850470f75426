import pytest
from transformers.models.m2m_100.tokenization_m2m_100 import (
    FAIRSEQ_LANGUAGE_CODES as FAIRSEQ_LANGUAGE_CODES_OF_M2M,
)
from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES

from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.languages import meanings_of
from xalign.pairs.languages import language_name, normalize_language, normalize_languages


@pytest.mark.parametrize(
    ("code", "normal"),
    [
        ("deu_Latn", "deu_Latn"),
        ("deu", "deu_Latn"),
        ("de", "deu_Latn"),
        ("DE-de", "deu_Latn"),
        ("ar", "arb_Arab"),
        ("arb", "arb_Arab"),
        ("swa", "swh_Latn"),
        ("pt-BR", "por_Latn"),
        ("zh-Hans", "zho_Hans"),
        ("zh-CN", "zho_Hans"),
        ("zho-TW", "zho_Hant"),
        ("zh-Hant-HK", "zho_Hant"),
        ("sr-Latn", "srp_Latn"),
        ("uz-Cyrl", "uzn_Cyrl"),
        ("xyz_Latn", "xyz_Latn"),
    ],
)
def test_normal_form(code, normal):
    assert normalize_language(code) == normal
    assert normalize_language(normal) == normal


@pytest.mark.parametrize("code", ["xyz", "xx", "", "german", "deu_Xxxx", "12", "d", "deu Latn"])
def test_unknown(code):
    with pytest.raises(ArgumentError, match="unknown"):
        normalize_language(code)


@pytest.mark.parametrize(
    ("code", "choices"),
    [("zh", "zho_Hans, zho_Hant"), ("sr", "srp_Cyrl, srp_Latn"), ("kas", "kas_Arab, kas_Deva")],
)
def test_ambiguous(code, choices):
    with pytest.raises(ArgumentError, match=f"{code!r} is ambiguous: choose one of {choices}"):
        normalize_language(code)


def test_codes_of_m2m_and_nllb():
    """Each code means one language, but for those of two scripts; the lists are those of transformers."""
    ambiguous = {"sr": ["srp_Cyrl", "srp_Latn"], "zh": ["zho_Hans", "zho_Hant"]}
    m2m = FAIRSEQ_LANGUAGE_CODES_OF_M2M["m2m100"]
    assert len(m2m) == 100
    for code in m2m:
        meanings = meanings_of(code)
        assert meanings == ambiguous.get(code, meanings[:1]) and meanings, code
        assert all(language_name(one) != one for one in meanings), code
    assert (normalize_language("ns"), normalize_language("no")) == ("nso_Latn", "nob_Latn")
    assert len(FAIRSEQ_LANGUAGE_CODES) == 202
    for code in FAIRSEQ_LANGUAGE_CODES:
        assert normalize_language(code) == code


def test_lists():
    assert normalize_languages("languages", ["de", "ru"]) == ["deu_Latn", "rus_Cyrl"]
    with pytest.raises(ArgumentTypeError, match="languages must be a list of language codes"):
        normalize_languages("languages", "deu_Latn")
    with pytest.raises(ArgumentError, match="names deu_Latn more than once"):
        normalize_languages("languages", ["de", "deu_Latn"])
    with pytest.raises(ArgumentTypeError, match="must be a string"):
        normalize_languages("languages", [3])


def test_names():
    assert language_name("deu_Latn") == "German"
    assert language_name("xyz_Latn") == "xyz_Latn"


def test_folders_of_real_text_are_in_the_table(real_text):
    for path in (real_text / "ntrex").glob("*_*.txt"):
        if path.stem != "document_ids":
            assert normalize_language(path.stem) == path.stem
            assert language_name(path.stem) != path.stem
