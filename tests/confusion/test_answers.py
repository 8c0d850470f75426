"""Answers of a model, and answers with an edit beside those without."""

import numpy as np
import pytest

from tests.tiny import make_model, make_tokenizer
from xalign.confusion import Prompt, answer_prompts, compare_answers
from xalign.errors import ArgumentError
from xalign.judging.sample import sample

PROMPTS = [Prompt("Guten Morgen", "de", "a"), Prompt("Es regnet heute wieder", "de", "b")]


def test_answers_are_greedy_and_keep_language_and_source():
    model, tokenizer = make_model("llama"), make_tokenizer()
    found = answer_prompts(model, tokenizer, PROMPTS, generation={"max_new_tokens": 6})
    for prompt, answer in zip(PROMPTS, found, strict=True):
        alone = sample(
            model, tokenizer, 1, prompt=prompt.text, generation={"do_sample": False, "max_new_tokens": 6}
        )
        assert (answer.text, answer.language, answer.source) == (alone.texts[0], "deu_Latn", prompt.source)


def test_a_chat_template_is_filled_once():
    model, tokenizer = make_model("llama"), make_tokenizer()
    with pytest.raises(ArgumentError, match="no chat template"):
        answer_prompts(model, tokenizer, PROMPTS, chat=True)
    tokenizer.chat_template = (
        "<s>{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %} A:{% endif %}"
    )
    try:
        (found,) = answer_prompts(model, tokenizer, PROMPTS[:1], chat=True, generation={"max_new_tokens": 6})
    finally:
        tokenizer.chat_template = None
    by_hand = Prompt("Guten Morgen A:", "de")
    (expected,) = answer_prompts(model, tokenizer, [by_hand], generation={"max_new_tokens": 6})
    assert found.text == expected.text


GERMAN, ENGLISH = "Das ist ein guter deutscher Satz.", "This is not a German sentence."


def by_first_word(text):
    return "eng_Latn" if text.startswith("This") else "deu_Latn"


def test_what_became_of_each_answer():
    prompts = [Prompt(f"Frage {number}?", "de") for number in range(5)]
    before = [GERMAN, ENGLISH, ENGLISH, GERMAN, GERMAN]
    after = [GERMAN, GERMAN, ENGLISH, ENGLISH, ""]
    found = compare_answers(prompts, before, after, by_first_word)
    assert found.flips() == ["right", "mended", "wrong", "broken", "broken"]
    change = found.change("de")
    assert (change.before, change.after, change.kept) == (pytest.approx(0.6), pytest.approx(0.5), (5, 4))
    assert found.change(silent_fails=True).after == pytest.approx(0.4)
    with pytest.raises(ArgumentError, match="no prompt of language='fr'"):
        found.change("fr")
    with pytest.raises(ArgumentError, match="after holds 1 answers, and prompts 5"):
        compare_answers(prompts, before, after[:1], by_first_word)


def test_the_interval_is_that_of_a_paired_bootstrap():
    draw = np.random.default_rng(1)
    prompts = [Prompt(f"Frage {number}?", "de") for number in range(60)]
    sides = draw.random((2, 60)) < [[0.3], [0.7]]
    before, after = ([GERMAN if right else ENGLISH for right in side] for side in sides)
    change = compare_answers(prompts, before, after, by_first_word).change("de")
    differences = sides[1].astype(float) - sides[0]
    assert change.difference == pytest.approx(differences.mean())
    half = 1.96 * differences.std() / 60**0.5  # the normal interval of a mean of paired differences
    assert change.low == pytest.approx(differences.mean() - half, abs=0.04)
    assert change.high == pytest.approx(differences.mean() + half, abs=0.04)


def test_the_mean_counts_languages_alike():
    prompts = [Prompt("a?", "de"), *[Prompt("б?", "ru")] * 3]
    before = [ENGLISH] * 4
    after = [GERMAN, *[ENGLISH] * 3]
    found = compare_answers(prompts, before, after, by_first_word)
    assert found.change().difference == pytest.approx(0.5)
    rows = {row["language"]: row["difference"] for row in found.to_rows()}
    assert rows == {"deu_Latn": 1.0, "rus_Cyrl": 0.0, "all": 0.5}
