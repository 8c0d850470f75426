"""`task_of`: which benchmark and which language a task of an evaluation harness is."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from xalign.errors import ArgumentError
from xalign.languages import known_languages, language_codes, language_name, normalize_language

# How codes are spelled in task names where the table of languages does not have them.
_SPELLINGS = {
    **{"jp": "ja", "ara": "arb", "fas": "pes", "swa": "swh", "msa": "zsm", "aze": "azj", "uzb": "uzn"},
    **{"ori": "ory", "nep": "npi", "sqi": "als", "lav": "lvs", "mlg": "plt", "que": "quy", "fil": "tgl"},
    **{"ekk": "est", "mon": "khk", "pus": "pbt", "orm": "gaz", "zho": "zh", "cmn": "zh"},
}
# Languages that have another name in the table.
_NAMES = {
    **{"chinese": "zh", "simplified chinese": "zho_Hans", "traditional chinese": "zho_Hant"},
    **{"arabic": "arb_Arab", "persian": "pes_Arab", "farsi": "pes_Arab", "malay": "zsm_Latn"},
    **{"uzbek": "uzn_Latn", "azerbaijani": "azj_Latn", "albanian": "als_Latn", "latvian": "lvs_Latn"},
    **{"norwegian": "nob_Latn", "filipino": "tgl_Latn", "malagasy": "plt_Latn", "mongolian": "khk_Cyrl"},
    **{"oriya": "ory_Orya", "odia": "ory_Orya", "myanmar": "mya_Mymr", "sinhalese": "sin_Sinh"},
}
_CODE = r"(?P<code>[a-z]{2,3}|[a-z]{3}_[A-Za-z]{4})"
_NAME = r"(?P<name>[a-z]+(?:[_ ][a-z]+)?)"
_FORM = r"(?:_(?:mcf|cf|hybrid)(?:_native)?)?"  # how lighteval asks
_PART = r"(?:[_:](?P<part>[a-z_]+))?"
# Benchmark -> its task names. A part is a subject of it, and no score of the whole.
_PATTERNS: tuple[tuple[str, str], ...] = (
    ("belebele", rf"belebele_{_CODE}{_FORM}"),
    ("sib200", rf"sib200_{_CODE}{_FORM}"),
    ("global_mmlu", rf"global_mmlu(?:_full|_lite|_all)?_{_CODE}{_FORM}{_PART}"),
    ("mmlu_prox", rf"mmlu_prox(?:_lite)?_{_CODE}{_PART}"),
    ("m_mmlu", rf"(?:m_mmlu|mmmlu|mlmm_mmlu|mmlu)_{_CODE}{_FORM}{_PART}"),
    ("include", rf"include_base_44_{_NAME}(?:_few_shot_(?:og|en))?"),
    ("xnli", rf"xnli(?:2\.0)?_{_CODE}{_FORM}"),
    ("xcopa", rf"xcopa_{_CODE}{_FORM}"),
    ("xstorycloze", rf"xstory_?cloze_{_CODE}{_FORM}"),
    ("xwinograd", rf"xwinograd_{_CODE}{_FORM}"),
    ("xcodah", rf"xcodah_{_CODE}{_FORM}"),
    ("xcsqa", rf"xcsqa_{_CODE}{_FORM}"),
    ("pawsx", rf"paws-?x?_{_CODE}{_FORM}"),
    ("mgsm_direct", rf"mgsm(?:_direct)?_{_CODE}"),
    ("mgsm_native_cot", rf"mgsm_native_cot_{_CODE}"),
    ("mgsm_en_cot", rf"mgsm_en_cot_{_CODE}"),
    ("m_arc", rf"(?:m_arc|mlmm_arc|arc|arc_challenge_mt)_{_CODE}{_FORM}(?::challenge)?"),
    ("m_hellaswag", rf"(?:m_hellaswag|mlmm_hellaswag|hellaswag)_{_CODE}{_FORM}"),
    ("m_truthfulqa_mc1", rf"(?:m_)?truthfulqa_{_CODE}_mc1"),
    ("m_truthfulqa_mc2", rf"(?:m_)?truthfulqa_{_CODE}_mc2"),
    ("lambada_mt", rf"lambada_openai_mt(?:_stablelm)?_{_CODE}"),
    ("multiblimp", rf"multiblimp_{_CODE}"),
    ("xquad", rf"xquad_{_CODE}"),
    ("global_piqa", rf"global_piqa_(?:completions|prompted)_{_CODE}"),
    ("afrimmlu", rf"afrimmlu(?:_direct|_translate)?_{_CODE}"),
    ("afrimgsm", rf"afrimgsm(?:_direct|_translate)?_{_CODE}"),
    ("flores200_from_english", rf"flores200:eng_Latn-{_CODE}"),
    ("flores200_to_english", rf"flores200:{_CODE}-eng_Latn"),
)


@dataclass(frozen=True, slots=True)
class Task:
    """What a task name says.

    Attributes:
        benchmark: The benchmark, as `belebele`.
        language: Its language: a FLORES code, or a code that leaves the script open, such as `zh`.
        part: The subject, where the task is only a part of the benchmark; None for the whole.
    """

    benchmark: str
    language: str
    part: str | None = None


def task_of(name: str, known: Mapping[str, str] | None = None) -> Task | None:
    """Return the benchmark and the language of a task; None where the name does not tell them.

    Args:
        name: As lm-evaluation-harness or lighteval has it: `belebele_deu_Latn`, `global_mmlu_de`,
            `include_base_44_german`, `xwinograd_jp`, `lighteval|xcodah_deu_cf|0`.
        known: Task name -> language, for tasks that no rule knows. The benchmark is then the name without
            what spells the language at its end.

    Raises:
        ArgumentError: `known` names an unknown language.

    Example:
        >>> task_of("belebele_deu_Latn")
        Task(benchmark='belebele', language='deu_Latn', part=None)
        >>> task_of("xwinograd_jp").language, task_of("global_mmlu_full_de_philosophy").part
        ('jpn_Jpan', 'philosophy')
        >>> print(task_of("hellaswag"), task_of("arc_easy"))
        None None
    """
    if known and name in known:
        return Task(_without_language(name), normalize_language(known[name]))
    plain = _plain(name)
    for benchmark, pattern in _PATTERNS:
        match = re.fullmatch(pattern, plain)
        if match is None:
            continue
        found = match.groupdict()
        spelled = found.get("code")
        language = language_of_name(found["name"]) if spelled is None else _language(spelled)
        if language is not None:
            part = found.get("part")
            return Task(benchmark, language, None if part in (None, "_average") else part)
    return None


def _plain(name: str) -> str:
    """Return a task's name without lighteval's suite, number of examples and truncation."""
    parts = name.split("|")
    return parts[1] if len(parts) in (3, 4) else name


def _without_language(name: str) -> str:
    return re.sub(r"[_:|-](?:[a-z]{2,3}|[a-z]{3}_[A-Za-z]{4})$", "", name) or name


def _language(code: str) -> str | None:
    """Return the language of a code; of one without a script, such as `zh`, the code itself."""
    language, _, script = code.partition("_")
    language = _SPELLINGS.get(language, language)
    try:
        return normalize_language(f"{language}_{script}" if script else language)
    except ArgumentError:
        return language if len(language_codes(language)) > 1 else None


def language_of_name(name: str) -> str | None:
    """Return the language that has an English name, in any case; None if there is none.

    Example:
        >>> language_of_name("German"), language_of_name("north_german"), language_of_name("chinese")
        ('deu_Latn', None, 'zh')
    """
    plain = name.replace("_", " ").strip().lower()
    return _NAMES.get(plain) or _by_name().get(plain)


@cache
def _by_name() -> dict[str, str]:
    """Return English name -> code, of names that mean one language."""
    found: dict[str, list[str]] = {}
    for code in known_languages():
        found.setdefault(language_name(code).lower(), []).append(code)
    return {name: codes[0] for name, codes in found.items() if len(codes) == 1}
