"""Interventions are calibrated and judged as units and vectors are."""

import pytest
import torch

from tests.tiny import make_model, make_tokenizer
from xalign import Site, load_pairs, steer
from xalign.errors import ArgumentError
from xalign.judging import calibrate, evaluate
from xalign.judging.text_losses import text_losses
from xalign.model.write import Edit
from xalign.steering import Intervention, contrastive_addition, incline, pivot_shift

SITE = Site("hidden", 1)
TEXTS = load_pairs("bundled", ["deu_Latn"], n=24).texts
FINDING = {code: texts[:16] for code, texts in TEXTS.items()}
UNSEEN = {code: list(texts[16:]) for code, texts in TEXTS.items()}
SHORT = {"max_new_tokens": 4}


def made(positions="all"):
    def make(strength):
        return {SITE: Edit("add", strength * torch.linspace(-3, 3, 32))}

    return {"deu_Latn": Intervention("ramp", make, positions, control=lambda seed: still(seed, positions))}


def still(seed, positions="all"):
    return Intervention(f"still {seed}", lambda strength: {SITE: Edit("scale", 1.0)}, positions)


def test_its_own_positions_are_tried_where_none_are_given():
    model, tokenizer = make_model("llama"), make_tokenizer()
    common = {"strengths": [0.5, 1], "samples": 3, "max_rise": 50.0, "generation": SHORT}
    for positions in ("all", "generated"):
        tried = calibrate(model, tokenizer, made(positions), TEXTS, **common).tried
        assert [one.positions for one in tried] == [positions] * 2
    given = calibrate(model, tokenizer, made("generated"), TEXTS, positions=["last_prompt"], **common)
    assert [one.positions for one in given.tried] == ["last_prompt"] * 2
    units_too = made() | {"eng_Latn": contrastive_addition(model, tokenizer, ["a"], ["b"], SITE)}
    mixed = calibrate(model, tokenizer, units_too, TEXTS, **common)
    assert [one.positions for one in mixed.tried] == ["all", "all", "generated", "generated"]


def test_what_is_chosen_can_be_judged():
    model, tokenizer = make_model("llama"), make_tokenizer()
    what = made()
    calibration = calibrate(
        model,
        tokenizer,
        what,
        TEXTS,
        strengths=[1],
        samples=8,
        max_rise=50.0,
        generation=SHORT,
        identify=lambda text: "deu_Latn" if len(text) > 6 else "eng_Latn",
    )
    chosen = calibration.chosen["deu_Latn"]
    how = calibration if chosen else {"strength": 1}
    result = evaluate(model, tokenizer, what, UNSEEN, how=how, random_sets=2, samples=2, seeds=1)
    assert {one.arm for one in result.observations} == {"intervention", "random"}
    row = result.effect("deu_Latn", "loss", "eng_Latn")
    with steer(model, what["deu_Latn"]):
        sums = text_losses(model, tokenizer, UNSEEN)["eng_Latn"].sum(dim=0)
    assert row["after"] == pytest.approx(float(sums[0] / sums[1]), rel=1e-6)
    assert abs(row["difference"]) > 1e-3
    assert row["random"] == pytest.approx(0, abs=1e-6)


def test_no_loss_is_reported_where_its_own_positions_are_in_no_text():
    model, tokenizer = make_model("llama"), make_tokenizer()
    for positions in ("generated", "last_prompt"):
        result = evaluate(model, tokenizer, made(positions), UNSEEN, samples=2, seeds=1, random_sets=1)
        assert {one.quantity for one in result.observations} == {"output_share", "output_loss"}
        assert positions in " ".join(result.left_out)
    told = evaluate(model, tokenizer, made("last_prompt"), UNSEEN, how={"positions": "all"}, random_sets=1)
    assert {one.quantity for one in told.observations} == {"loss"}


def test_a_function_that_fits_is_judged_over_seeds():
    model, tokenizer = make_model("llama"), make_tokenizer()

    def fit(model, tokenizer, texts):
        return {"deu_Latn": pivot_shift(model, tokenizer, texts, "deu_Latn", to=1, back=2)}

    result = evaluate(model, tokenizer, fit, UNSEEN, finding=FINDING, seeds=2, random_sets=1, shuffles=1)
    row = result.effect("deu_Latn", "loss")
    assert row["n"] == 2
    assert {"random", "shuffled"} <= row.keys()


def test_what_is_refused():
    model, tokenizer = make_model("llama"), make_tokenizer()
    alone = {"deu_Latn": Intervention("alone", lambda strength: {SITE: Edit("scale", 2.0)})}
    with pytest.raises(ArgumentError, match="no random control; give one, control=, or ask for none"):
        evaluate(model, tokenizer, alone, UNSEEN)
    assert evaluate(model, tokenizer, alone, UNSEEN, random_sets=0).observations
    with pytest.raises(ArgumentError, match="intervention 'alone' has its own; give none"):
        evaluate(model, tokenizer, alone, UNSEEN, random_sets=0, how={"operator": "add"})
    fitted = {"deu_Latn": incline(model, tokenizer, FINDING, "deu_Latn", ridge=1.0)}
    with pytest.raises(ArgumentError, match="strengths and positions must each hold something"):
        calibrate(model, tokenizer, fitted, TEXTS, positions=[])
