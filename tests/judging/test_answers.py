"""Answers by log-likelihood, and whether alignment tells which items are solved: by hand, and the edges."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tokenizers.processors import TemplateProcessing

from tests.tiny import make_model, make_tokenizer
from xalign.errors import ArgumentError, ModelError, PairsError
from xalign.judging.answers import Answers, agreement, answer_items
from xalign.measurement.items import measure_items
from xalign.pairs.item import Choice
from xalign.pairs.items import ParallelItems
from xalign.statistics.shares import newcombe_interval

ENGLISH = [
    Choice("It rains today.", ("Take a coat.", "Never."), 0),
    Choice("He is hungry.", ("He sleeps.", "He eats bread."), 1),
    Choice("The sun shines.", ("Good.", "It is dark in the house."), 1),
]
ITEMS = ParallelItems({"en": ENGLISH, "de": ENGLISH[:2] + [Choice("Die Sonne.", ("Gut.", "Es regnet."), 1)]})


@pytest.fixture(scope="module")
def model():
    return make_model("llama")


def by_hand(model, item):
    """The log-likelihoods of the options: token by token, from the probabilities of one text at a time."""
    tokenizer, found = make_tokenizer(), []
    start = len(tokenizer(item.context)["input_ids"])
    for option in item.options:
        ids = tokenizer(f"{item.context} {option}")["input_ids"]
        assert ids[:start] == tokenizer(item.context)["input_ids"]  # nothing is merged across the space
        with torch.no_grad():
            probabilities = model(torch.tensor([ids])).logits[0].double().softmax(-1)
        found.append(sum(np.log(probabilities[at - 1, ids[at]].item()) for at in range(start, len(ids))))
    return found


def test_log_likelihoods_by_hand(model):
    answers = answer_items(model, make_tokenizer(), ITEMS)
    per_character = answer_items(model, make_tokenizer(), ITEMS, per="character", token_budget=30)
    assert answers.chance == 0.5 and answers.fingerprint == ITEMS.fingerprint
    for code in ITEMS:
        expected = np.array([by_hand(model, item) for item in ITEMS[code]])
        assert np.allclose(answers.scores[code], expected, atol=1e-4)
        right = expected.argmax(1) == [item.gold for item in ITEMS[code]]
        assert answers.correct[code].tolist() == right.tolist()
        assert answers.accuracy(code) == right.mean()
        lengths = [[len(option) for option in item.options] for item in ITEMS[code]]
        assert np.allclose(per_character.scores[code], expected / lengths, atol=1e-5)
    low, high = answers.interval("de")
    assert 0 <= low <= answers.accuracy("de") <= high <= 1


def test_a_special_token_at_the_end_does_not_count(model):
    tokenizer = make_tokenizer()
    with_end = copy.deepcopy(tokenizer)
    first, end = tokenizer("It")["input_ids"][0], tokenizer.eos_token_id
    names = tokenizer.convert_ids_to_tokens([first, end])
    with_end.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{names[0]} $A {names[1]}", special_tokens=list(zip(names, (first, end), strict=True))
    )
    assert with_end("It")["input_ids"] == [*tokenizer("It")["input_ids"], end]
    plain, ending = (answer_items(model, one, ITEMS).scores["eng_Latn"] for one in (tokenizer, with_end))
    assert torch.allclose(plain, ending, atol=1e-5)


def report_with(bits, fingerprint=ITEMS.fingerprint):
    """As much of a report as `agreement` reads."""
    result = SimpleNamespace(values={"deu_Latn": torch.tensor(bits)}, layers=("embed", 0, 1))
    return SimpleNamespace(
        provenance={"items": {"fingerprint": fingerprint}}, languages=["deu_Latn"], metrics={"dali": result}
    )


def test_agreement_by_hand():
    aligned = [True] * 70 + [False] * 80
    correct = [True] * 56 + [False] * 14 + [True] * 48 + [False] * 32
    answers = Answers({}, {"deu_Latn": torch.tensor(correct)}, 0.5, ITEMS.fingerprint)
    fewer, tied = [False] * 150, aligned[::-1]
    (row,) = agreement(report_with([fewer, aligned, tied[-70:] + tied[:80]]), answers)
    assert (row["layer"], row["n"]) == (0, 150)  # the first of the layers with most aligned items
    assert row["accuracy_aligned"] == 56 / 70 and row["accuracy_other"] == 48 / 80
    assert row["difference"] == pytest.approx(0.2)
    assert (row["low"], row["high"]) == (pytest.approx(0.0524, abs=5e-5), pytest.approx(0.3339, abs=5e-5))
    assert row["agreement"] == (56 + 32) / 150
    assert row["chance"] == pytest.approx(70 / 150 * 104 / 150 + 80 / 150 * 46 / 150)
    assert row["agreement_low"] < row["agreement"] < row["agreement_high"] and 0 < row["p"] < 0.02


def test_without_relation_agreement_is_at_chance():
    random, covered, agreements = np.random.RandomState(0), 0, []
    for _ in range(200):
        answers = Answers({}, {"deu_Latn": torch.tensor(random.rand(200) < 0.6)}, 0.5, ITEMS.fingerprint)
        (row,) = agreement(report_with((random.rand(1, 200) < 0.3).tolist()), answers)
        covered += row["low"] <= 0 <= row["high"]
        agreements.append(row["agreement"] - row["chance"])
    assert 0.91 <= covered / 200 <= 0.99 and abs(np.mean(agreements)) < 0.01


def test_where_all_items_are_aligned_there_is_no_difference():
    answers = Answers({}, {"deu_Latn": torch.tensor([True, False])}, 0.5, ITEMS.fingerprint)
    (row,) = agreement(report_with([[True, True]]), answers)
    assert row["accuracy_aligned"] == 0.5 and row["agreement"] == 0.5
    assert [row[name] for name in ("accuracy_other", "difference", "low", "high", "p")] == [None] * 5


def test_end_to_end(model):
    report = measure_items(model, make_tokenizer(), ITEMS)
    answers = answer_items(model, make_tokenizer(), ITEMS)
    for metric in ("dali", "mexa_t"):
        (row,) = agreement(report, answers, metric)
        assert row["n"] == 3 and row["accuracy"] == answers.accuracy("de")


def test_what_is_refused(model, as_for_users):
    tokenizer = make_tokenizer()
    answers = answer_items(model, tokenizer, ITEMS)
    with pytest.raises(ArgumentError, match="of other items"):
        agreement(report_with([[True]], "other"), answers)
    with pytest.raises(ArgumentError, match="metric='cka' was not measured; there are dali"):
        agreement(report_with([[True]]), answers, "cka")
    with pytest.raises(ArgumentError, match="real numbers and no bits"):
        agreement(report_with([[0.5]]), answers)
    with pytest.raises(ArgumentError, match="language='fr' was not answered"):
        answers.accuracy("fr")
    with pytest.raises(ArgumentError, match="per='token' must be 'option' or 'character'"):
        answer_items(model, tokenizer, ITEMS, per="token")
    unknown = [Choice(one.context, one.options) for one in ENGLISH]
    with pytest.raises(PairsError, match=r"3 item\(s\) in eng_Latn have no gold answer, the first 0"):
        answer_items(model, tokenizer, ParallelItems({"en": unknown}))
    with pytest.raises(ModelError, match="predicts no tokens"):
        answer_items(make_model("bert"), tokenizer, ITEMS)


def test_newcombes_table():
    """Newcombe (1998), table II, method 10, four decimals."""
    for counts, expected in (
        ((56, 70, 48, 80), (0.0524, 0.3339)),
        ((9, 10, 3, 10), (0.1705, 0.8090)),
        ((5, 56, 0, 29), (-0.0381, 0.1926)),
        ((10, 10, 0, 10), (0.6075, 1.0)),
    ):
        assert newcombe_interval(*counts) == pytest.approx(expected, abs=6e-5)
