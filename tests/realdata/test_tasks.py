"""XStoryCloze and XCOPA, end to end: a few items in six languages, with Babel's and MiniLM's states."""

import pytest
from transformers import AutoModel, AutoTokenizer

from tests.minilm import minilm_folder
from xalign import load_items, measure_items
from xalign.babel import load_babel
from xalign.errors import ModelError
from xalign.judging import agreement, answer_items

N = 8
SETS = {
    "xstorycloze": ("eng_Latn", ["spa", "rus", "zho", "ind", "swh", "hin"]),
    "xcopa/test": ("ita_Latn", ["est", "ind", "swh", "tur", "vie", "zho"]),
}


@pytest.mark.parametrize("name", SETS)
def test_items_are_measured_answered_and_compared(real_text, name):
    pivot, languages = SETS[name]
    items = load_items(real_text / name, languages, pivot, unusable="drop").first(N)
    assert len(items.languages) == 6
    model, tokenizer = load_babel("aligned")
    report, answers = measure_items(model, tokenizer, items), answer_items(model, tokenizer, items)
    rows = agreement(report, answers)
    assert [row["language"] for row in rows] == report.languages == items.languages
    for row in rows:
        code = row["language"]
        assert report.chance("dali", code) == pytest.approx(1 / 6)
        assert report.chance("dali_strong", code) == pytest.approx(1 / 15)
        assert row["n"] == N
        assert 0 <= row["agreement_low"] <= row["agreement"] <= row["agreement_high"] <= 1
        assert row["accuracy"] == answers.accuracy(code)
        assert answers.interval(code)[0] <= answers.accuracy(code) <= answers.interval(code)[1]
        for layer in report.metrics["dali"].layers:  # strong implies plain
            strong, plain = (report.per_sentence(one, code, layer) for one in ("dali_strong", "dali"))
            assert bool((plain | ~strong).all())


def test_an_encoder_aligns_items_and_answers_none(real_text):
    folder = minilm_folder()
    model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    items = load_items(real_text / "xstorycloze", ["spa", "swh"], unusable="drop").first(N)
    report = measure_items(model, tokenizer, items, include_final=True)
    assert report.score("dali", "spa_Latn", over="max") > report.chance("dali", "spa_Latn")
    with pytest.raises(ModelError):
        answer_items(model, tokenizer, items)
