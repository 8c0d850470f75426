"""Rates of language confusion: the published toy, a second implementation on real answers, and bad input."""

import json
import re
import string
from collections import defaultdict

import pytest

from xalign.confusion import Answer, english_words, language_confusion, word_tokens
from xalign.confusion.cleaning import clean
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.judging import LanguageIdentifier, identify_language

SIX = [
    "Это простой ответ на вопрос пользователя.",
    "This is an answer in plain English.",
    "Это ответ про machine learning и данные\nВот ещё одна строка из слов\n"
    "This line is wrong English text here",
    "Это ответ про machine learning и данные",
    "коротко",
    "Да нет да нет да\nQ: next question one two three",
]
WORDS = ["machine", "learning", "the", "English", "plain", "answer", "Paris"]


def by_script(text):
    """Return Russian where most letters are Cyrillic, and English where most are Latin."""
    cyrillic = sum("а" <= sign.lower() <= "я" or sign.lower() == "ё" for sign in text)
    latin = sum("a" <= sign.lower() <= "z" for sign in text)
    return "rus_Cyrl" if cyrillic > latin else "eng_Latn"


def test_the_toy_of_the_paper_gives_its_numbers():
    found = language_confusion([Answer(text, "ru") for text in SIX], by_script, words=english_words(WORDS))
    rate = found.rate("ru")
    assert rate.accuracy == pytest.approx(0.7333333, abs=1e-7)
    assert rate.lpr == pytest.approx(0.6)
    assert rate.wpr == pytest.approx(0.6666667, abs=1e-7)
    assert (rate.answers, rate.kept, rate.most_wrong) == (6, 5, "eng_Latn")
    assert found.rates["", "rus_Cyrl"] == found.rates["all", "rus_Cyrl"] == found.rates["all", "all"]


def split(line):
    """Words between blanks; characters of Chinese, Japanese and Thai alone."""
    alone = "\u3041-\u30ff\u3400-\u9fff\u0e00-\u0e7f"
    return re.findall(rf"[{alone}]|[^\s{alone}]+", line)


def second_implementation(rows, identify, words):
    """The rates by their definition, with loops and sums of our own."""
    of_group = defaultdict(list)
    for row in rows:
        of_group[row["source"], row["target"]].append(row["completion"])
    single = {}
    for (source, target), texts in of_group.items():
        kept = wrong = spoiled = 0
        shares = []
        for text in texts:
            head = text.split("\nQ:")[0].strip()
            head = "".join(sign for sign in head if sign not in string.punctuation)
            lines = head.replace("—", " ").replace("،", "").split("\n")
            lines = [line for line in lines if len(split(line)) >= 5]
            if not lines:
                continue
            kept += 1
            bad = [line for line in lines if identify(line) != target]
            shares.append((len(lines) - len(bad)) / len(lines))
            if bad:
                wrong += 1
            elif any(token in words for line in lines for token in split(line)):
                spoiled += 1
        single[source, target] = {
            "accuracy": sum(shares) / len(shares) if shares else 1.0,
            "lpr": 1 - wrong / max(1, kept),
            "wpr": None if target[-4:] == "Latn" else 1 - spoiled / max(1, kept - wrong),
        }

    def mean(of):
        known = {name: [one[name] for one in of if one[name] is not None] for name in of[0]}
        return {name: sum(values) / len(values) if values else None for name, values in known.items()}

    result = dict(single)
    for source in {source for source, _ in single}:
        result[source, "all"] = mean([one for key, one in single.items() if key[0] == source])
    languages = {code for _, code in single}
    for code in languages:
        result["all", code] = mean([one for key, one in single.items() if key[1] == code])
    result["all", "all"] = mean([result["all", code] for code in languages])
    return result


@pytest.mark.realdata
@pytest.mark.parametrize("system", ["llama-2-instruct", "mistral-8x7b", "command-r-base"])
def test_real_answers_get_the_numbers_of_a_second_implementation(system, real_text, many_languages):
    file = real_text / "language_confusion" / f"completions_{system}.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    words = {word for row in rows for word in re.findall("[a-z]{4,}", row["completion"])}
    identify = remembered(many_languages)
    found = language_confusion(
        [Answer(row["completion"], row["target"], row["source"]) for row in rows], identify, words=words
    )
    expected = second_implementation(rows, identify, words)
    assert set(found.rates) == set(expected)
    for key, rate in found.rates.items():
        for name, value in expected[key].items():
            assert getattr(rate, name) == (None if value is None else pytest.approx(value, abs=1e-12)), key
    confused = {row["language"]: row["most_wrong"] for row in found.to_rows()}
    assert confused["deu_Latn"] == "eng_Latn" and found.rate().wpr < 1


def remembered(identify):
    """Return an identifier that is asked once about each line."""
    known = {}
    return lambda text: known[text] if text in known else known.setdefault(text, identify(text))


def test_lines_are_cleaned_and_cut_as_published():
    assert clean("  a.b—c، d!\nQ: what\nmore ") == "ab c d"
    assert clean("Q: stays\nA") == "Q stays\nA"
    assert word_tokens("ich  bin 学习 ok 日本のOK", "jpn_Jpan") == [
        *["ich", "bin", "学", "习", "ok", "日", "本", "の", "OK"]
    ]
    assert english_words([" sure\n", "The", "cat", "words"]) == {"sure", "words"}


def test_tokens_and_least_decide_which_lines_are_judged():
    answers = [Answer("один два", "ru"), Answer("one two three", "ru")]
    assert language_confusion(answers, by_script).rate().kept == 0
    found = language_confusion(answers, by_script, least=2)
    assert (found.rate().kept, found.rate().lpr) == (2, 0.5)
    letters = language_confusion(answers, by_script, tokens=lambda line, language: list(line), least=9)
    assert (letters.rate().kept, letters.rate().lpr) == (1, 0.0)


def test_averages_count_languages_alike_whatever_their_number_of_answers():
    german, english = "Das ist ein guter deutscher Satz.", "This is not a German sentence."
    russian = "Это простой ответ на вопрос пользователя."
    answers = [Answer(german, "de", "a"), Answer(english, "de", "a"), Answer(german, "de", "b")]
    answers += [Answer(russian, "ru", "b")] * 5
    found = language_confusion(answers, identify_language)
    assert found.rates["a", "deu_Latn"].lpr == 0.5
    assert found.rate("de").lpr == 0.75  # the mean of both sources, not 2 of 3
    assert found.rate(source="b").lpr == 1.0
    assert found.rate().lpr == pytest.approx((0.75 + 1.0) / 2)
    assert found.rate("de").wpr is None and found.rate("ru").wpr is None
    assert [row["answers"] for row in found.to_rows()] == [2, 1, 5, 2, 6, 3, 5, 8]


def test_silence_is_said():
    found = language_confusion([Answer("", "de"), Answer("kurz", "de")], identify_language)
    assert found.rate("de").lpr == 1.0  # as published
    assert "no answer has a line of 5 tokens" in found.notes[0] and "deu_Latn" in found.notes[0]
    assert not [note for note in language_confusion([Answer(SIX[0], "ru")], by_script, words=[]).notes]


@pytest.mark.parametrize(
    ("answers", "options", "message"),
    [
        ([], {}, "answers is empty"),
        ([Answer(SIX[0], "swh_Latn")], {}, "identify knows .*, and not swh_Latn"),
        ([Answer(SIX[0], "ru")], {"least": 0}, "least=0 must be at least 1"),
    ],
)
def test_bad_input_is_refused(answers, options, message):
    with pytest.raises(ArgumentError, match=message):
        language_confusion(answers, identify_language, **options)


def test_wrong_types_are_refused():
    for answers in ("text", ["text"]):
        with pytest.raises(ArgumentTypeError, match="answers"):
            language_confusion(answers, identify_language)
    with pytest.raises(ArgumentTypeError, match="text=None must be text"):
        Answer(None, "de")
    with pytest.raises(ArgumentError, match="'zh' is ambiguous"):
        Answer("", "zh")
    with pytest.raises(ArgumentError, match="source='all'"):
        Answer("", "de", "all")
    with pytest.raises(ArgumentError, match="no answer of language='fr'"):
        language_confusion([Answer(SIX[0], "ru")], by_script).rate("fr")


def test_a_language_that_an_identifier_has_not_learnt_is_refused():
    identify = LanguageIdentifier({"deu_Latn": ["Das ist es."], "eng_Latn": ["This is it."]})
    with pytest.raises(ArgumentError, match="knows deu_Latn, eng_Latn, and not rus_Cyrl"):
        language_confusion([Answer(SIX[0], "ru")], identify)
