"""Taking language means off a real encoder: fitted on NTREX, measured on FLORES, against an independent run.

The expected figures are of a separate script that ran one sentence a forward; the tolerance is .03 a cell.
"""

import pytest
from transformers import AutoModel, AutoTokenizer

from tests.minilm import minilm_folder
from xalign import load_pairs, measure
from xalign.finding import language_means

EXPECTED = {("fra_Latn", 2): (0.21, 0.54), ("deu_Latn", 2): (0.08, 0.25), ("swh_Latn", 2): (0.01, 0.19)} | {
    ("deu_Latn", "final"): (0.60, 0.68)
}
LANGUAGES = ["fra_Latn", "deu_Latn", "swh_Latn"]


@pytest.mark.usefixtures("real_text")
@pytest.mark.slow  # the recipe that subtracts language means runs in the default tests
def test_language_means_of_minilm(real_text):
    model = AutoModel.from_pretrained(minilm_folder())
    tokenizer = AutoTokenizer.from_pretrained(minilm_folder())
    fitted = load_pairs(real_text / "ntrex", LANGUAGES, n=200)
    held_out = load_pairs(real_text / "flores200", LANGUAGES, n=100)
    assert not any(fitted.overlap(held_out).values())
    means = language_means(model, tokenizer, fitted.texts, ["mexa"])
    before = measure(model, tokenizer, held_out, ["mexa"])
    after = measure(model, tokenizer, held_out, ["mexa"], subtract=means)
    wrong = {"eng_Latn": means["eng_Latn"], "deu_Latn": means["swh_Latn"], "swh_Latn": means["deu_Latn"]}
    mistaken = measure(model, tokenizer, held_out, ["mexa"], subtract=wrong)
    for (code, layer), (was, now) in EXPECTED.items():
        for report, expected in ((before, was), (after, now)):
            value = report.per_sentence("mexa", code, layer).double().mean().item()
            assert value == pytest.approx(expected, abs=0.03 + 1e-9), (code, layer)
    # Another language's mean takes off what all languages share; its own, more.
    for code in ("deu_Latn", "swh_Latn"):
        assert mistaken.score("mexa", code) < after.score("mexa", code) - 0.02
    gains = {row["language"]: row for row in after.compare(before) if row["layer"] == "mean"}
    assert all(row["low"] > 0 for row in gains.values())
