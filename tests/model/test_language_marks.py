"""Tokenizers that mark sentences with their language are told it, in codes of their own, and put back."""

import pytest
import torch
from transformers import M2M100Config, M2M100ForConditionalGeneration

from tests.marking_tokenizers import MARKING, make_nllb
from tests.tiny import make_model, make_tokenizer
from xalign import find_units, load_pairs, measure
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.languages import spellings_of
from xalign.model.inputs import Inputs, TextOptions
from xalign.model.language_marks import mark_of

MARKS = {
    "nllb": ("deu_Latn", "deu_Latn"),
    "mbart": ("de_DE", "de_DE"),
    "mbart50": ("de_DE", "de_DE"),
    "m2m100": ("de", "__de__"),
}
PAIRS = load_pairs("bundled", ["deu_Latn"], n=4)


def state_of(tokenizer):
    return tokenizer.src_lang, tokenizer("Nein.")["input_ids"], dict(vars(tokenizer))


@pytest.mark.parametrize("name", MARKING)
def test_each_language_is_marked_with_the_tokenizers_own_code(name):
    tokenizer = MARKING[name]()
    before = state_of(tokenizer)
    code, token = MARKS[name]
    inputs = Inputs(make_model("llama", vocab_size=2000), tokenizer)
    lines = {}
    for language in ("deu_Latn", "eng_Latn"):
        encoded = inputs.encode(["Nein, nein."], language)
        lines[language] = tokenizer.convert_ids_to_tokens(list(encoded.ids[0]))
        # Everything is pooled but the mark.
        assert encoded.pooled[0].count(False) == 1
        mark = mark_of(tokenizer, language)
        assert encoded.ids[0][encoded.pooled[0].index(False)] == mark.token_id != tokenizer.unk_token_id
        assert mark.token_id not in encoded.pooled_ids[0]
    assert inputs.language_token("deu_Latn") == code
    assert lines["deu_Latn"].count(token) == 1
    assert [one for one in lines["deu_Latn"] if one not in lines["eng_Latn"]] == [token]
    assert state_of(tokenizer) == before


@pytest.mark.parametrize(
    "options", [{"template": "Say: {text}", "template_pooled": True}, {"template": None}]
)
def test_a_mark_is_never_pooled(options):
    tokenizer = make_nllb()
    inputs = Inputs(make_model("llama", vocab_size=2000), tokenizer)
    encoded = inputs.encode(["Nein."], "deu_Latn", TextOptions(**options))
    assert encoded.pooled[0] == (False, *(True,) * (len(encoded.ids[0]) - 1))


@pytest.mark.parametrize("name", MARKING)
@pytest.mark.parametrize("language", ["lij_Latn", "xxx_Latn", "German"])
def test_a_language_that_the_tokenizer_does_not_have_is_refused(name, language):
    """NLLB would have marked it with the unknown token; before, the language set last was taken."""
    tokenizer = MARKING[name]()
    before = state_of(tokenizer)
    inputs = Inputs(make_model("llama", vocab_size=2000), tokenizer)
    with pytest.raises(
        ArgumentError, match=rf"has no code for '{language}': leave this language out, or say"
    ):
        inputs.encode(["Nein."], language)
    codes = {language: MARKS[name][0]}
    told = inputs.encode(["Nein."], language, TextOptions(source_codes=codes))
    assert told == inputs.encode(["Nein."], "deu_Latn")
    assert state_of(tokenizer) == before


def test_an_unknown_token_is_no_mark():
    """Of mBART's codes, a vocabulary may lack some."""
    tokenizer = MARKING["mbart"]()
    tokenizer.lang_code_to_id["xh_ZA"] = tokenizer.unk_token_id
    with pytest.raises(ArgumentError, match="does not know the code 'xh_ZA' for 'xho_Latn'"):
        mark_of(tokenizer, "xho_Latn")


def test_what_source_codes_may_be():
    tokenizer = make_nllb()
    with pytest.raises(ArgumentError, match=r"does not know the code 'xx'.* it has 3: deu_Latn, eng_Latn"):
        mark_of(tokenizer, "deu_Latn", {"de": "xx"})
    assert mark_of(tokenizer, "deu_Latn", {"de": "eng_Latn"}).code == "eng_Latn"
    assert mark_of(tokenizer, "deu_Latn", {"fra_Latn": "eng_Latn"}).code == "deu_Latn"
    with pytest.raises(
        ArgumentError, match="does not mark sentences with their language; leave source_codes"
    ):
        mark_of(make_tokenizer(), "deu_Latn", {"deu_Latn": "de"})
    for wrong in ("de", {"deu_Latn": 3}, ["de"]):
        with pytest.raises(ArgumentTypeError, match="source_codes=.* must map languages to the tokenizer's"):
            TextOptions(source_codes=wrong)


def test_without_a_language_or_a_mark_nothing_changes():
    assert mark_of(make_nllb(src_lang="deu_Latn"), "") is None
    assert mark_of(make_tokenizer(), "deu_Latn") is None
    silent = make_tokenizer()
    try:
        silent.src_lang = None  # PLBart's, by default
        assert mark_of(silent, "deu_Latn") is None
    finally:
        del silent.src_lang


@pytest.mark.parametrize(
    ("language", "codes", "found"),
    [
        ("deu_Latn", ["en", "de"], ["de"]),
        ("zho_Hans", ["zh_CN", "zh_TW"], ["zh_CN"]),
        ("zho_Hant", ["zh_CN", "zh_TW"], ["zh_TW"]),
        ("zho_Hant", ["zh"], ["zh"]),
        ("srp_Cyrl", ["sr", "srp_Cyrl"], ["srp_Cyrl"]),
        ("deu_Latn", ["de", "de_DE"], ["de", "de_DE"]),
        ("nso_Latn", ["ns", "nn"], ["ns"]),
        ("lij_Latn", ["ns", "nn"], []),
        ("deu_Latn", ["python", "[DE]"], []),
    ],
)
def test_which_codes_mean_a_language(language, codes, found):
    assert spellings_of(language, codes) == found


def test_several_codes_for_a_language_are_ambiguous():
    tokenizer = make_nllb(extra_special_tokens=["deu_Latn", "zho_Hans", "eng_Latn", "fr_XX", "fra"])
    with pytest.raises(ArgumentError, match=r"has several codes \(fr_XX, fra\) for 'fra_Latn'"):
        mark_of(tokenizer, "fra_Latn")


def test_a_report_says_how_sentences_were_marked():
    tokenizer = make_nllb()
    torch.manual_seed(0)
    config = M2M100Config(
        vocab_size=len(tokenizer),
        **{
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_ffn_dim": 80,
            "decoder_ffn_dim": 80,
        },
        **{"encoder_attention_heads": 4, "decoder_attention_heads": 4, "pad_token_id": 1},
    )
    model = M2M100ForConditionalGeneration(config).eval()
    report = measure(model, tokenizer, PAIRS, ["mexa"])
    assert report.provenance["language_marks"] == {"eng_Latn": "eng_Latn", "deu_Latn": "deu_Latn"}
    other = measure(model, tokenizer, PAIRS, ["mexa"], source_codes={"deu_Latn": "zho_Hans"})
    assert other.provenance["language_marks"]["deu_Latn"] == "zho_Hans"
    assert other.provenance["source_codes"] == {"deu_Latn": "zho_Hans"}
    with pytest.raises(ArgumentError, match="has no code for 'spa_Latn'"):
        measure(model, tokenizer, load_pairs("bundled", ["spa_Latn"], n=4), ["mexa"])
    texts = {"German": ["Nein.", "Ja, ja."], "English": ["No.", "Yes, yes."]}
    codes = {"German": "deu_Latn", "English": "eng_Latn"}
    found = find_units(model, tokenizer, texts, method="expert_ap", k=2, sites="1.inner", source_codes=codes)
    assert found.labels == ["German", "English"]
    with pytest.raises(ArgumentError, match="source_codes={'German': '...'}"):
        find_units(model, tokenizer, texts, method="expert_ap", k=2, sites="1.inner")
