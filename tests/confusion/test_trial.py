"""A model tried without an edit and with it, beside answers and points taken one by one."""

from contextlib import nullcontext

import pytest

from tests.tiny import make_model, make_tokenizer
from xalign.confusion import Prompt, TrialOptions, answer_prompts, confusion_points, try_answers
from xalign.errors import ArgumentError
from xalign.judging import LanguageIdentifier
from xalign.steering.steer import steer
from xalign.units.unit_set import UnitSet

PROMPTS = [
    *(Prompt("Guten Morgen", "de"), Prompt("Доброе утро", "ru"), Prompt("It rains", "en")),
    Prompt("Wie geht es dir heute?", "de"),
]


def by_length(text):
    return "deu_Latn" if len(text) % 2 else "eng_Latn"


def any_is_english(token):
    return "eng_Latn"


N = 24
OPTIONS = TrialOptions(by_length, any_is_english, least=1, max_new_tokens=N)


def units(label):
    return UnitSet.from_rows([(label, "1.hidden", index, 1.0, 8.0) for index in range(16)])


def test_a_trial_is_what_its_parts_give():
    model, tokenizer = make_model("llama"), make_tokenizer()
    asked = []

    def change(language):
        asked.append(language)
        return steer(model, units(language)) if language == "deu_Latn" else nullcontext()

    trial = try_answers(model, tokenizer, PROMPTS, OPTIONS, change)
    assert asked == ["deu_Latn", "rus_Cyrl", "eng_Latn"]
    generation = {"max_new_tokens": N}
    plain = [one.text for one in answer_prompts(model, tokenizer, PROMPTS, generation=generation)]
    with steer(model, units("deu_Latn")):
        steered = [one.text for one in answer_prompts(model, tokenizer, PROMPTS, generation=generation)]
    assert list(trial.answers) == plain and steered[0] != plain[0]
    assert list(trial.edited) == [steered[0], *plain[1:3], steered[3]]
    german, how = [PROMPTS[0], PROMPTS[3]], {"max_new_tokens": N}
    assert [trial.points[at] for at in (0, 3)] == confusion_points(
        model, tokenizer, german, any_is_english, **how
    )
    with steer(model, units("deu_Latn")):
        slips = confusion_points(model, tokenizer, german, any_is_english, **how)
    assert list(trial.edited_points) == [slips[0], *trial.points[1:3], slips[1]]
    words = [tokenizer.decode([one]).strip() for one in tokenizer(plain[2])["input_ids"]]
    assert any(word[:1].isascii() and word[:1].isalpha() for word in words)
    assert trial.points[2] is None  # English cannot slip into English
    assert trial.flips == trial.comparison.flips()
    assert trial.table().row_count == 4


def test_without_an_edit_there_is_no_comparison():
    trial = try_answers(make_model("llama"), make_tokenizer(), PROMPTS[:1], OPTIONS)
    assert (trial.edited, trial.comparison) == (None, None)
    assert trial.flips[0] in ("right", "wrong")
    assert trial.table().row_count == 0


def test_a_language_that_is_not_known_is_refused_before_anything_is_answered():
    identify = LanguageIdentifier({"deu_Latn": ["Das ist es."], "eng_Latn": ["This is it."]})
    with pytest.raises(ArgumentError, match="and not rus_Cyrl"):
        try_answers(None, None, PROMPTS, TrialOptions(identify, identify))
