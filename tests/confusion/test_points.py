"""Points where answers slip into English, beside a search by hand; and what they give `attribution`."""

import string

import pytest
import torch

from tests.tiny import make_model, make_tokenizer
from xalign.confusion import Prompt, confusion_points
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.finding.next_token import attribute_next_token
from xalign.judging import LanguageIdentifier
from xalign.steering.interventions.confusion_neurons import edit_confusion_neurons
from xalign.steering.steer import steer
from xalign.units.unit_set import UnitSet

TEXTS = ["Guten Morgen, wie geht es", "Es regnet", "Buenos días", "Доброе утро", "今天"]
CODES = ["deu_Latn", "deu_Latn", "spa_Latn", "rus_Cyrl", "zho_Hans"]
PROMPTS = [Prompt(text, code) for text, code in zip(TEXTS, CODES, strict=True)]
N = 24


def english_where_odd(text):
    """Take tokens of odd length for English, and others for German."""
    return "eng_Latn" if len(text) % 2 else "deu_Latn"


def by_hand(model, tokenizer, prompt):
    """Generate token by token, without a cache, and stop at the first English one."""
    ids = tokenizer(prompt.text)["input_ids"]
    start = len(ids)
    with torch.no_grad():
        while len(ids) < start + N:
            token = int(model(torch.tensor([ids])).logits[0, -1].argmax())
            if token in (tokenizer.eos_token_id, tokenizer.pad_token_id):
                return None
            word = tokenizer.decode([token], skip_special_tokens=True).strip()
            if word and word[0] in string.ascii_letters:
                latin = prompt.language in ("deu_Latn", "spa_Latn")
                if not latin or english_where_odd(word) == "eng_Latn":
                    return len(ids) - start, word, token, ids
            ids = [*ids, token]
    return None


@pytest.mark.parametrize("seed", [0, 1])
def test_points_are_those_of_a_search_by_hand(seed):
    model, tokenizer = make_model("llama", seed), make_tokenizer()
    found = confusion_points(model, tokenizer, PROMPTS, english_where_odd, max_new_tokens=N, batch_size=2)
    expected = [by_hand(model, tokenizer, prompt) for prompt in PROMPTS]
    assert sum(one is not None for one in expected) >= 3
    for point, one, prompt in zip(found, expected, PROMPTS, strict=True):
        assert (point is None) == (one is None)
        if point is not None:
            assert (point.at, point.token, point.target, list(point.ids)) == one
            assert point.prompt is prompt
            assert point.text.startswith(prompt.text) and point.text.endswith(point.before)


def test_a_point_gives_neurons_whose_silence_makes_its_token_less_likely():
    model, tokenizer = make_model("llama", 1), make_tokenizer()
    points = confusion_points(model, tokenizer, PROMPTS, english_where_odd, max_new_tokens=N)
    point = next(one for one in points if one is not None)
    scores = attribute_next_token(model, point.ids, point.target).scores
    rows = [
        ("eng_Latn", str(site), int(unit), float(of_site[unit]), 0.0)
        for site, of_site in scores.items()
        for unit in of_site.topk(8).indices
    ]
    before = log_probability(model, point)
    with steer(model, edit_confusion_neurons(model, UnitSet.from_rows(rows))):
        assert log_probability(model, point) < before


def log_probability(model, point):
    with torch.no_grad():
        return float(model(torch.tensor([point.ids])).logits[0, -1].log_softmax(-1)[point.target])


def test_an_answer_that_keeps_its_language_has_no_point():
    model, tokenizer = make_model("llama"), make_tokenizer()
    found = confusion_points(model, tokenizer, PROMPTS[:3], lambda text: "und", max_new_tokens=N)
    assert found == [None] * 3


def test_a_token_that_ends_the_answer_comes_before_the_point():
    model, tokenizer = make_model("llama", 1), make_tokenizer()
    (point,) = confusion_points(model, tokenizer, PROMPTS[:1], english_where_odd, max_new_tokens=N)
    stop = [point.target]
    assert confusion_points(
        model, tokenizer, PROMPTS[:1], english_where_odd, max_new_tokens=N, stop=stop
    ) == [None]


@pytest.mark.parametrize(
    ("prompts", "error", "message"),
    [
        ([], ArgumentError, "prompts is empty"),
        (["Guten Tag"], ArgumentTypeError, "which is no Prompt"),
        ([Prompt("Hello", "en")], ArgumentError, "one that wants English"),
        ([Prompt("Habari", "swh_Latn")], ArgumentError, "knows deu_Latn, eng_Latn, and not swh_Latn"),
    ],
)
def test_bad_input_is_refused(prompts, error, message):
    identify = LanguageIdentifier({"deu_Latn": ["Das ist es."], "eng_Latn": ["This is it."]})
    with pytest.raises(error, match=message):
        confusion_points(make_model("llama"), make_tokenizer(), prompts, identify)
