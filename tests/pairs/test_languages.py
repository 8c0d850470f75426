import pytest

from xalign.errors import ArgumentError, ArgumentTypeError
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
