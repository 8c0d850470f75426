"""Task names of the harnesses, and the languages that they name."""

import pytest

from xalign.correlation import Task, task_of
from xalign.correlation.tasks import language_of_name
from xalign.errors import ArgumentError


@pytest.mark.parametrize(
    ("name", "benchmark", "language"),
    [
        ("belebele_deu_Latn", "belebele", "deu_Latn"),
        ("belebele_zho_Hant", "belebele", "zho_Hant"),
        ("lighteval|belebele_deu_Latn_mcf|0", "belebele", "deu_Latn"),
        ("lighteval|belebele_arb_Arab_cf|5|1", "belebele", "arb_Arab"),
        ("sib200_swh_Latn", "sib200", "swh_Latn"),
        ("global_mmlu_de", "global_mmlu", "deu_Latn"),
        ("global_mmlu_full_sw", "global_mmlu", "swh_Latn"),
        ("lighteval|global_mmlu_all_deu_mcf:_average|0", "global_mmlu", "deu_Latn"),
        ("include_base_44_german", "include", "deu_Latn"),
        ("include_base_44_persian", "include", "pes_Arab"),
        ("include_base_44_greek_few_shot_og", "include", "ell_Grek"),
        ("xwinograd_jp", "xwinograd", "jpn_Jpan"),
        ("xwinograd_pt", "xwinograd", "por_Latn"),
        ("xnli_sw", "xnli", "swh_Latn"),
        ("lighteval|xnli2.0_ara_cf|0", "xnli", "arb_Arab"),
        ("xcopa_qu", "xcopa", "quy_Latn"),
        ("xcopa_ht", "xcopa", "hat_Latn"),
        ("xstorycloze_my", "xstorycloze", "mya_Mymr"),
        ("lighteval|xstory_cloze_spa_cf|0", "xstorycloze", "spa_Latn"),
        ("paws_de", "pawsx", "deu_Latn"),
        ("paws-x_fr", "pawsx", "fra_Latn"),
        ("pawsx_ko", "pawsx", "kor_Hang"),
        ("mgsm_direct_te", "mgsm_direct", "tel_Telu"),
        ("mgsm_native_cot_de", "mgsm_native_cot", "deu_Latn"),
        ("arc_vi", "m_arc", "vie_Latn"),
        ("lighteval|mlmm_arc_cat_cf:challenge|0", "m_arc", "cat_Latn"),
        ("hellaswag_eu", "m_hellaswag", "eus_Latn"),
        ("truthfulqa_de_mc2", "m_truthfulqa_mc2", "deu_Latn"),
        ("lambada_openai_mt_it", "lambada_mt", "ita_Latn"),
        ("multiblimp_deu", "multiblimp", "deu_Latn"),
        ("global_piqa_completions_deu_latn", "global_piqa", "deu_Latn"),
        ("flores200:eng_Latn-deu_Latn", "flores200_from_english", "deu_Latn"),
        ("flores200:deu_Latn-eng_Latn", "flores200_to_english", "deu_Latn"),
    ],
)
def test_known(name, benchmark, language):
    assert task_of(name) == Task(benchmark, language)


@pytest.mark.parametrize(("name", "language"), [("xnli_zh", "zh"), ("include_base_44_chinese", "zh")])
def test_a_script_that_is_left_open(name, language):
    assert task_of(name).language == language


def test_a_part_is_no_score_of_the_whole():
    assert task_of("global_mmlu_full_de_philosophy") == Task("global_mmlu", "deu_Latn", "philosophy")
    assert task_of("lighteval|global_mmlu_all_deu_mcf:astronomy|0").part == "astronomy"


@pytest.mark.parametrize(
    "name",
    [
        *("hellaswag", "arc_easy", "arc_challenge", "mmlu", "belebele", "xnli", "gsm8k", "mgsm_direct"),
        *("belebele_xx", "xnli_english", "include_base_44_klingon", "truthfulqa_mc1", "mmlu_prox", ""),
        *("flores200:deu_Latn-fra_Latn", "copa_de", "deu_Latn", "lighteval|all|0", "winogrande"),
    ],
)
def test_unknown_is_not_guessed(name):
    assert task_of(name) is None


def test_a_mapping_of_ones_own():
    known = {"my_quiz_german": "de", "own_de": "deu_Latn"}
    assert task_of("my_quiz_german", known) == Task("my_quiz_german", "deu_Latn")
    assert task_of("own_de", known) == Task("own", "deu_Latn")
    with pytest.raises(ArgumentError, match="'xq' is unknown"):
        task_of("own", {"own": "xq"})


def test_names_of_languages():
    assert [language_of_name(name) for name in ("German", "haitian creole", "Burmese", "Chinese")] == [
        *("deu_Latn", "hat_Latn", "mya_Mymr", "zh"),
    ]
    assert language_of_name("Culturally Agnostic") is None
