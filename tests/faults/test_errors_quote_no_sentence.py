"""An error names a sentence by its row or id: trackers may upload what a program prints."""

import json

import pytest

from tests.tiny import make_model, make_tokenizer
from xalign import ParallelPairs, load_pairs, measure
from xalign.errors import XAlignError
from xalign.training.refusals import refuse_overlap

ENGLISH = ["Secret number one is here.", "Secret number two is here."]
GERMAN = ["Das Geheimnis eins ist hier.", "Das Geheimnis zwei ist hier."]
PAIRS = ParallelPairs(texts={"eng_Latn": ENGLISH, "deu_Latn": GERMAN}, ids=["a", "b"])


def measured(template, pairs=PAIRS):
    measure(make_model("llama"), make_tokenizer(), pairs, template=template)


def loaded(tmp_path, *lines):
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    load_pairs(tmp_path / "pairs.jsonl", pivot="eng_Latn")


def without_header(tmp_path, *lines):
    (tmp_path / "pairs.tsv").write_text("\n".join(lines), encoding="utf-8")
    load_pairs(tmp_path / "pairs.tsv", pivot="eng_Latn")


def one(value):
    return ParallelPairs(texts={"eng_Latn": ENGLISH, "deu_Latn": value})


CASES = {
    "a template that drops it": (
        lambda at: measured(lambda text, code: "no text"),
        "for sentence a of eng_Latn",
    ),
    "a template that cuts it": (
        lambda at: measured(lambda text, code: text[:20]),
        "for sentence a of eng_Latn",
    ),
    "a template that doubles it": (lambda at: measured(lambda text, code: text * 2), "holds it 2 times"),
    "a template that gives no text": (lambda at: measured(lambda text, code: [text]), "<class 'list'>"),
    "two texts of training": (lambda at: refuse_overlap(PAIRS, PAIRS), r"overlap\(measured\) lists them"),
    "half a character": (lambda at: one([GERMAN[0], "Geheimnis \ud800"]), "entry 1 holds half"),
    "a text as a side": (lambda at: one(GERMAN[0]), "must be a list of strings, not str"),
    "a list in a side": (lambda at: one([GERMAN[0], [GERMAN[1]]]), "entry 1 must be a string, not list"),
    "a line that is no object": (lambda at: loaded(at, GERMAN[0], GERMAN[1]), "not str"),
    "a table without a header": (
        lambda at: without_header(at, f"{ENGLISH[0]}\t{GERMAN[0]}"),
        "first line holds text; put a line above it",
    ),
    "one that has the same on both sides": (
        lambda at: without_header(at, f"{ENGLISH[0]}\t{ENGLISH[0]}"),
        "first line holds text; put a line above it",
    ),
    "a list as a sentence": (
        lambda at: loaded(at, *({"eng_Latn": ENGLISH[0], "deu_Latn": [GERMAN[0]]},) * 2),
        "must be a string, not list",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_no_sentence_is_quoted(case, tmp_path):
    """The error of a template quoted the sentence, and W&B uploads what is printed."""
    call, said = CASES[case]
    with pytest.raises(XAlignError, match=said) as error:
        call(tmp_path)
    assert "Secret" not in str(error.value) and "Geheimnis" not in str(error.value)
