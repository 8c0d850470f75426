"""Judging a remedy: rows against measures by themselves, shares by hand, transfer, and what is refused."""

import numpy as np
import pytest
import torch

from tests.tiny import make_model, make_tokenizer
from xalign import load_pairs, steer
from xalign.bias import Debiasing, judge_debiasing, likelihood_gaps, load_bias_list, seat
from xalign.bias.debiasing import DebiasingRow
from xalign.errors import ArgumentError, ArgumentTypeError, UnitsError
from xalign.judging.text_losses import text_losses
from xalign.steering import Intervention, subspace_projection

BIAS = load_bias_list("kin_and_work")
TWO = ["eng_Latn", "deu_Latn"]
PAIRS = {code: BIAS.pairs[code][1::2] for code in TWO}
WORDS = {code: BIAS.words[code] for code in TWO}
FITTING = {"eng_Latn": BIAS.pairs["eng_Latn"][::2]}
TEXTS = {code: lines[:5] for code, lines in load_pairs("bundled", ["deu_Latn"], n=5).texts.items()}


@pytest.fixture(scope="module")
def judged():
    model, tokenizer = make_model("llama"), make_tokenizer()
    what = subspace_projection(model, tokenizer, FITTING, "1.hidden")
    found = judge_debiasing(
        model,
        tokenizer,
        what,
        fitted_on=["eng"],
        pairs=PAIRS,
        words=WORDS,
        sites="1.hidden",
        texts=TEXTS,
        random_sets=2,
    )
    return model, tokenizer, what, found


def test_rows_are_what_each_measure_gives_by_itself(judged):
    model, tokenizer, what, found = judged
    rows = {(row.measure, row.language): row for row in found.rows}
    assert found.measures == ["gap", "preferred", "effect 1.hidden", "loss"]
    assert len(rows) == len(found.rows) == 8

    def look():
        gaps = likelihood_gaps(model, tokenizer, PAIRS)
        effects = seat(model, tokenizer, WORDS, "1.hidden", by="word")
        losses = text_losses(model, tokenizer, TEXTS)
        return (
            {("gap", code): one.mean for code, one in gaps.items()}
            | {("preferred", code): one.preferred for code, one in gaps.items()}
            | {("effect 1.hidden", one.language): one.effect for one in effects}
            | {("loss", code): float((one[:, 0] / one[:, 1]).mean()) for code, one in losses.items()}
        )

    before, controls = look(), []
    with steer(model, what):
        after = look()
    for seed in (0, 1):
        with steer(model, what.random(seed)):
            controls.append(look())
    for key, row in rows.items():
        assert row.before == pytest.approx(before[key], abs=1e-5)
        assert row.after == pytest.approx(after[key], abs=1e-5)
        assert row.random == pytest.approx(np.mean([one[key] for one in controls]), abs=1e-5)
        assert row.is_fitted == (row.language == "eng_Latn")
        if row.measure in ("gap", "loss"):
            assert row.low <= row.after - row.before <= row.high
        else:
            assert row.low is row.high is None


def test_shares_and_cost_by_hand():
    rows = (
        DebiasingRow("eng_Latn", True, "gap", 2.0, 0.5),
        DebiasingRow("deu_Latn", False, "gap", -1.0, -0.5),
        DebiasingRow("spa_Latn", False, "gap", 1.0, 1.5),
        DebiasingRow("eng_Latn", True, "preferred", 0.9, 0.4),
        DebiasingRow("eng_Latn", True, "loss", 2.0, 2.5),
        DebiasingRow("deu_Latn", False, "loss", 2.0, 2.1),
    )
    found = Debiasing("by hand", rows)
    assert found.removed("gap", fitted=True) == pytest.approx(0.75)
    assert found.removed("gap", fitted=False) == pytest.approx(0.0)  # 2 before, 2 after
    assert found.removed("preferred", fitted=True) == pytest.approx(0.75)  # .4 from .5, then .1
    assert found.removed("preferred", fitted=False) is None
    assert found.cost() == pytest.approx(0.3)
    assert Debiasing("none", rows[:1]).cost() is None
    assert found.to_rows()[0]["after"] == 0.5
    for unknown in ("loss", "bias"):
        with pytest.raises(ArgumentError, match="must be one of gap, preferred"):
            found.removed(unknown, fitted=True)


def test_the_table_escapes_names():
    from rich.console import Console

    row = DebiasingRow("[red]x[/red]", True, "gap", 1.0, 0.5, 0.9, -0.7, -0.3)
    console = Console(width=150, record=True)
    console.print(Debiasing("[bold]name", (row,)).table())
    text = console.export_text()
    assert "[red]x[/red]" in text and "[bold]name" in text and "-0.500 [-0.700, -0.300]" in text


def test_words_alone_do_for_an_encoder():
    model, tokenizer = make_model("bert"), make_tokenizer()
    what = subspace_projection(model, tokenizer, FITTING, "1.hidden")
    found = judge_debiasing(model, tokenizer, what, fitted_on=[], words=WORDS, sites="1.hidden")
    assert found.measures == ["effect 1.hidden"]
    assert found.removed("effect 1.hidden", fitted=True) is None


def test_what_is_refused(judged):
    model, tokenizer, what, _ = judged
    with pytest.raises(ArgumentError, match="there is no bias to measure"):
        judge_debiasing(model, tokenizer, what, fitted_on=[], texts=TEXTS)
    with pytest.raises(ArgumentError, match="words and sites belong together"):
        judge_debiasing(model, tokenizer, what, fitted_on=[], words=WORDS)
    with pytest.raises(ArgumentError, match="fitted_on has 'fra', and only eng_Latn, deu_Latn are measured"):
        judge_debiasing(model, tokenizer, what, fitted_on=["fra"], pairs=PAIRS)
    with pytest.raises(ArgumentTypeError, match="what must be an Intervention, not UnitSet|not str"):
        judge_debiasing(model, tokenizer, "projection", fitted_on=[], pairs=PAIRS)
    bare = Intervention("bare", what.make)
    with pytest.raises(ArgumentError, match="'bare' has no random control"):
        judge_debiasing(model, tokenizer, bare, fitted_on=[], pairs=PAIRS)
    with pytest.raises(UnitsError, match="n_layers 3 there, 2 here"):
        judge_debiasing(make_model("llama", num_hidden_layers=2), tokenizer, what, fitted_on=[], pairs=PAIRS)


@torch.no_grad()
def test_the_model_is_left_as_it_was(judged):
    model = judged[0]
    fresh = make_model("llama")
    ids = torch.arange(3, 12)[None]
    assert torch.equal(model(input_ids=ids).logits, fresh(input_ids=ids).logits)
