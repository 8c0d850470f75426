"""The two models that ship with xalign, and the figures that were measured when they were trained."""

import numpy as np
import pytest
from scipy import stats

from xalign import correlate, measure
from xalign.babel import load_babel, write_pairs
from xalign.babel.examine import WITH_SEPARATOR
from xalign.babel.models import babel_facts

MIXTURES = ("aligned", "unaligned")


def test_the_score_and_not_the_floor_goes_with_transfer(tmp_path):
    """Eight points of two models and four languages, from a table of results."""
    lines, reports, expected = ["model,language,score,loss"], [], []
    held_out = write_pairs(40, 0, "held_out")
    for mixture in MIXTURES:
        model, tokenizer = load_babel(mixture)
        model.config._name_or_path = mixture
        report = measure(model, tokenizer, held_out, ["nasca"], **WITH_SEPARATOR)
        reports.append(report)
        figures = babel_facts(mixture)["figures"]
        for code in report.languages:
            score = np.mean([run["accuracy"][code] for run in figures["transfer"]])
            loss = figures["sentence_loss"][code]
            lines.append(f"{mixture},{code},{score},{loss}")
            expected.append((report.score("nasca", code), report.floor("nasca", code), loss, score))
    (tmp_path / "scores.csv").write_text("\n".join(lines), encoding="utf-8")
    found = correlate(reports, tmp_path / "scores.csv", resample="models")
    rows = {row["predictor"]: row for row in found.to_rows()}
    nasca, floor, loss, score = np.array(expected).T
    for name, values in (("nasca", nasca), ("lexical floor", floor), ("loss", loss)):
        assert rows[name]["points"] == 8
        assert rows[name]["pearson"] == pytest.approx(stats.pearsonr(values, score).statistic)
    assert rows["nasca"]["pearson"] > 0.9 > abs(rows["lexical floor"]["pearson"]) + 0.3
