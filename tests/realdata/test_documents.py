"""Intervals over documents, on real text with a real model."""

import numpy as np
import pytest
from transformers import AutoModel, AutoTokenizer

from tests.minilm import minilm_folder
from xalign import load_pairs, measure, measure_stability


def load():
    folder = minilm_folder()
    return AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def test_corpora_name_their_documents(real_text):
    """The first 100 lines of three corpora: from how many articles they are."""
    counts = {
        name: len(set(load_pairs(real_text / name, ["fi"], n=100)["fi"].documents))
        for name in ("flores200", "ntrex", "pud/text")
    }
    assert counts["flores200"] == 31
    assert counts["ntrex"] == 7
    assert 30 <= counts["pud/text"] <= 60


def test_a_report_says_what_it_resampled(real_text):
    pairs = load_pairs(real_text / "flores200", ["fi"], n=30)
    report = measure(*load(), pairs, ["nasca"])
    assert report.documents("fi") == len(set(pairs["fi"].documents))
    assert f"over {report.documents()} documents" in str(report.table().caption)


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:the pairs hold repeated sentences", "ignore:.*are the same tokens as an earlier"
)
def test_intervals_cover_over_documents_and_over_blocks(real_text):
    """Two thousand lines of news: draws of 100 from whole articles, and all blocks of 100 lines.

    A block is what a user takes as the first n. Both kinds of draws score lower than sentences from all over
    the corpus: the sentences of an article are harder to tell apart.
    """
    pairs = load_pairs(real_text / "ntrex", ["deu_Latn", "fin_Latn"])
    found = {
        by: measure_stability(*load(), pairs, ["nasca"], n=[100], draws=60, by=by)
        for by in ("documents", "blocks", "sentences")
    }
    for by in ("documents", "blocks"):
        for code in pairs:
            row = found[by].row("nasca", code, 100)
            print(by, row)
            assert row["covered"] >= 0.9
            assert row["width"] <= 2.5 * 3.92 * row["sd"]
            assert row["mean"] < found["sentences"].row("nasca", code, 100)["mean"]
    assert np.isfinite(found["blocks"].row("nasca", None, 100)["sd"])
