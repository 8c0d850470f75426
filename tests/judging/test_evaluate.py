"""Evaluation: each number by hand, controls beside it, intervals over seeds, and refusals; calibration."""

from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats

from tests.tiny import make_model, make_tokenizer
from xalign import load_pairs, measure
from xalign.babel import load_babel, write_pairs
from xalign.errors import ArgumentError, ArgumentTypeError, XAlignError
from xalign.finding.find import find_units
from xalign.finding.mean_difference import mean_difference
from xalign.judging.calibrate import Calibration, Trial, calibrate
from xalign.judging.controls import random_units
from xalign.judging.evaluate import evaluate
from xalign.judging.identify import identify_language
from xalign.judging.sample import sample
from xalign.steering.steer import steer
from xalign.units.unit_set import UnitSet

BUNDLED = load_pairs("bundled", languages=["deu_Latn", "rus_Cyrl"])
FINDING = {code: lines[:20] for code, lines in BUNDLED.texts.items()}
UNSEEN = {code: lines[20:30] for code, lines in BUNDLED.texts.items()}
find = partial(find_units, share=0.1)


def make():
    return make_model("llama"), make_tokenizer()


def loss_by_hand(model, tokenizer, sentences):
    total = count = 0.0
    for text in sentences:
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        with torch.no_grad():
            total += model(input_ids=ids, labels=ids).loss.item() * (ids.shape[1] - 1)
        count += ids.shape[1] - 1
    return total / count


def test_every_number_by_hand():
    model, tokenizer = make()
    units, pairs = find(model, tokenizer, FINDING), BUNDLED.first(12)
    how = {"operator": "set", "strength": 3.0}
    generation = {"max_new_tokens": 8}
    result = evaluate(
        model,
        tokenizer,
        units,
        UNSEEN,
        how=how,
        random_sets=2,
        pairs=pairs,
        samples=5,
        seeds=2,
        generation=generation,
    )
    german = units["deu_Latn"]
    for language, sentences in UNSEEN.items():
        row = result.effect("deu_Latn", "loss", language)
        assert row["before"] == pytest.approx(loss_by_hand(model, tokenizer, sentences), abs=1e-5)
        with steer(model, german, **how):
            assert row["after"] == pytest.approx(loss_by_hand(model, tokenizer, sentences), abs=1e-5)
    with steer(model, german, **how):
        report = measure(model, tokenizer, pairs, ["nasca", "retrieval"])
        drawn = [sample(model, tokenizer, 5, seed=seed, generation=generation) for seed in range(2)]
    before = measure(model, tokenizer, pairs, ["nasca", "retrieval"])
    for metric in ("nasca", "retrieval"):
        row = result.effect("deu_Latn", metric)
        assert row["before"] == pytest.approx(before.score(metric, "deu_Latn"))
        assert row["after"] == pytest.approx(report.score(metric, "deu_Latn"))
    shares = [[identify_language(text) == "deu_Latn" for text in one.texts] for one in drawn]
    assert result.effect("deu_Latn", "output_share")["after"] == pytest.approx(np.mean(shares))
    lost = []
    for one in drawn:
        total = count = 0.0
        for row in one.ids:
            if len(row) > 1:
                ids = torch.tensor([row])
                with torch.no_grad():
                    total += model(input_ids=ids, labels=ids).loss.item() * (len(row) - 1)
                count += len(row) - 1
        lost.append(total / count)
    assert result.effect("deu_Latn", "output_loss")["after"] == pytest.approx(np.mean(lost), abs=1e-4)
    # Units given lose the same whatever the seed: one look, and an interval over sentences.
    row = result.effect("deu_Latn", "loss")
    assert row["n"] == 1
    assert row["low"] < row["difference"] < row["high"]
    assert result.effect("deu_Latn", "output_share")["n"] == 2
    # A control by hand: the same seed draws the same units.
    row = result.effect("deu_Latn", "loss", "rus_Cyrl")
    rises = []
    for seed in range(2):
        with steer(model, random_units(model, units, seed=seed)["deu_Latn"], **how):
            rises.append(loss_by_hand(model, tokenizer, UNSEEN["rus_Cyrl"]))
    assert row["random"] == pytest.approx(np.mean(rises) - row["before"], abs=1e-5)
    assert row["random_largest"] == pytest.approx(max(rises) - row["before"], abs=1e-5)
    assert result.left_out == ("no control of shuffled labels: it takes a function that finds the units",)


def test_a_finder_is_judged_over_seeds_and_beside_shuffled_labels():
    model, tokenizer = make()
    seen = []

    def finder(model, tokenizer, texts):
        seen.append(texts)
        return find(model, tokenizer, texts)

    result = evaluate(
        model, tokenizer, finder, UNSEEN, finding=FINDING, seeds=3, how={"operator": "zero"}, random_sets=1
    )
    halves, dealt = seen[::2], seen[1::2]
    assert [len(half["deu_Latn"]) for half in halves] == [10, 10, 10]
    assert len({tuple(half["deu_Latn"]) for half in halves}) == 3
    for half, shuffled in zip(halves, dealt, strict=True):
        assert set(half["deu_Latn"]) <= set(FINDING["deu_Latn"])
        assert set(shuffled["deu_Latn"]) - set(half["deu_Latn"])
        assert set(shuffled["deu_Latn"]) <= {text for lines in half.values() for text in lines}
    own = [
        one.difference
        for one in result.observations
        if (one.label, one.language, one.arm) == ("deu_Latn", "deu_Latn", "units")
    ]
    row = result.effect("deu_Latn", "loss")
    assert row["n"] == len(own) == 3
    low, high = stats.t.interval(0.95, 2, loc=np.mean(own), scale=stats.sem(own))
    assert (row["low"], row["high"]) == pytest.approx((low, high))
    assert {"random", "random_low", "shuffled", "shuffled_largest"} <= row.keys()
    assert result.left_out == ()
    table = result.table()
    assert table.row_count == 9
    assert [column.header for column in table.columns][-2:] == ["random", "shuffled"]


def test_vectors_and_their_random_directions():
    model, tokenizer = make()
    vectors = mean_difference(model, tokenizer, FINDING, "1.hidden")
    result = evaluate(
        model,
        tokenizer,
        vectors,
        UNSEEN,
        how=lambda label: {"strength": 2.0},
        random_sets=1,
        labels=["deu_Latn"],
    )
    with steer(model, vectors["deu_Latn"].random(0), strength=2.0):
        expected = loss_by_hand(model, tokenizer, UNSEEN["deu_Latn"])
    row = result.effect("deu_Latn", "loss")
    assert row["random"] == pytest.approx(expected - row["before"], abs=1e-5)
    assert {one.label for one in result.observations} == {"deu_Latn"}


def test_units_that_do_nothing_have_no_effect():
    model, tokenizer = make()
    how = {"operator": "scale", "strength": 1.0}
    result = evaluate(model, tokenizer, find(model, tokenizer, FINDING), UNSEEN, how=how, random_sets=1)
    assert all(abs(row["difference"]) < 1e-9 and abs(row["random"]) < 1e-9 for row in result.to_rows())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"what": find}, ArgumentError, "what is a finder and finding is None"),
        ({"what": find, "finding": UNSEEN}, ArgumentError, r"30 sentence\(s\) of texts are in finding too"),
        ({"what": 3}, ArgumentTypeError, "what must be units, vectors, interventions or a finder, not 3"),
        (
            {"what": lambda *given: 3, "finding": FINDING},
            ArgumentTypeError,
            "what must return units or vectors, not 3",
        ),
        ({"texts": {"deu_Latn": ["Es regnet."]}}, ArgumentError, "texts has no 'eng_Latn', which is steered"),
        ({"labels": ["fra_Latn"]}, ArgumentError, r"labels=\['fra_Latn'\]: no units or vectors of fra_Latn"),
        (
            {"what": find, "finding": FINDING, "pairs": BUNDLED},
            ArgumentError,
            r"sentence\(s\) of pairs are in",
        ),
        (
            {"how": {"operator": "zero", "positions": "generated"}},
            ArgumentError,
            "nothing was observed: .*no loss and no alignment",
        ),
        ({"seeds": 0}, ArgumentError, "seeds=0 must be at least 1"),
        ({"how": "zero"}, ArgumentTypeError, "how='zero' must hold arguments of steer"),
        ({"how": {"strngth": 2}}, ArgumentTypeError, "operator, strength, positions"),
        ({"labels": "deu_Latn"}, ArgumentTypeError, r"labels='deu_Latn' must be a list, like \['deu_Latn'\]"),
        ({"pairs": "bundled"}, ArgumentTypeError, "pairs='bundled' must be ParallelPairs"),
        ({"texts": BUNDLED}, ArgumentTypeError, r"must be a list of sentences, not Bitext; .* pairs.texts"),
    ],
)
def test_bad_input(options, error, message):
    model, tokenizer = make()
    given = {"what": find(model, tokenizer, FINDING), "texts": UNSEEN, "how": {"operator": "zero"}} | options
    with pytest.raises(error, match=message):
        evaluate(model, tokenizer, given.pop("what"), given.pop("texts"), **given)


def test_calibration_chooses_by_its_rule():
    model, tokenizer = make()
    units = find(model, tokenizer, FINDING)
    strengths, positions = [1.0, 20.0], ["prompt", "all"]
    found = calibrate(
        model, tokenizer, units, UNSEEN, strengths=strengths, positions=positions, samples=6, max_rise=0.0
    )
    assert len(found.tried) == 12
    assert all(np.isfinite(one.rise) for one in found.tried)
    for label in units.labels:
        own = [one for one in found.tried if one.label == label]
        assert {(one.positions, one.strength) for one in own} == {
            (p, s) for p in positions for s in strengths
        }
        inside = [one for one in own if one.rise <= 0.0 and one.share > one.before]
        if inside:
            assert found.chosen[label].share == max(one.share for one in inside)
            assert found(label) == {
                "operator": None,  # the default of `steer`
                "strength": found.chosen[label].strength,
                "positions": found.chosen[label].positions,
            }
    assert found.table().row_count == 12
    # The same trial, judged by evaluate on the same seed, is the same.
    one = found.tried[0]
    how = {"operator": "set", "strength": one.strength, "positions": one.positions}
    result = evaluate(
        model, tokenizer, units, UNSEEN, how=how, samples=6, seeds=1, first_seed=1000, random_sets=0
    )
    assert result.effect(one.label, "output_share")["after"] == pytest.approx(one.share)
    assert result.effect(one.label, "output_loss")["difference"] == pytest.approx(one.rise)


@pytest.mark.parametrize(
    ("share", "message"),
    [
        (0.5, r"nothing tried for deu_Latn raises its share within -9 nats.* costs \+1.00: try smaller"),
        (0.1, "nothing tried raises the share of deu_Latn above 0.10, what it is without: try greater"),
    ],
)
def test_calibration_says_why_nothing_is_chosen(share, message):
    tried = (Trial("deu_Latn", "all", 2.0, share, 0.1, 1.0),)
    calibration = Calibration("set", tried, {"deu_Latn": None, "rus_Cyrl": tried[0]}, -9)
    assert calibration.labels == ["rus_Cyrl"]
    with pytest.raises(ArgumentError, match=message):
        calibration("deu_Latn")


def test_calibration_chooses_nothing_out_of_bounds():
    model, tokenizer = make()
    units = find(model, tokenizer, FINDING)["deu_Latn"]
    found = calibrate(model, tokenizer, units, UNSEEN, strengths=[2], samples=3, max_rise=-9)
    assert found.chosen == {"deu_Latn": None}
    with pytest.raises(ArgumentError, match="label='fra_Latn' was not calibrated; there is deu_Latn"):
        found("fra_Latn")
    for options, message in (
        ({"strengths": []}, "strengths and positions must each hold something"),
        ({"strengths": 4}, r"strengths=4 must be a list of numbers, like \[1, 4\]"),
        ({"positions": "prompt"}, r"positions='prompt' must be a list, like \['prompt'\]"),
        ({"samples": 0}, "samples=0 must be at least 1"),
    ):
        with pytest.raises(XAlignError, match=message):
            calibrate(model, tokenizer, units, UNSEEN, **options)


def test_a_language_that_the_identifier_does_not_know():
    model, tokenizer = make()
    units = UnitSet.from_rows([("swh_Latn", "1.inner", 7, 0.9, 2.5)])
    texts = {"swh_Latn": ["Habari ya asubuhi."]}
    with pytest.raises(ArgumentError, match="identify knows .*, and not swh_Latn: pass a LanguageIdentifier"):
        calibrate(model, tokenizer, units, texts, strengths=[1], samples=2)
    with pytest.raises(ArgumentError, match="and not swh_Latn"):
        evaluate(model, tokenizer, units, texts, samples=2)
    assert calibrate(
        model, tokenizer, units, texts, strengths=[1], samples=2, identify=lambda text: "swh_Latn"
    )


def test_where_only_what_is_generated_is_steered_no_loss_is_reported():
    model, tokenizer = make()
    units = find(model, tokenizer, FINDING)
    result = evaluate(
        model, tokenizer, units, UNSEEN, how={"strength": 20.0, "positions": "generated"}, samples=3, seeds=1
    )
    assert {one.quantity for one in result.observations} == {"output_share", "output_loss"}
    assert any("no token is 'generated' and followed by another" in line for line in result.left_out)
    with pytest.raises(
        ArgumentError, match="loss of deu_Latn under deu_Latn was not observed; there is output"
    ):
        result.effect("deu_Latn", "loss")


def test_a_control_that_finds_nothing_changes_nothing():
    model, tokenizer = make()
    units = find(model, tokenizer, FINDING)
    calls = []

    def finder(model, tokenizer, texts):
        calls.append(texts)
        return units["deu_Latn"] if len(calls) % 2 else units["eng_Latn"]

    result = evaluate(
        model, tokenizer, finder, UNSEEN, finding=FINDING, seeds=2, how={"operator": "zero"}, random_sets=1
    )
    assert {row["label"] for row in result.to_rows()} == {"deu_Latn"}
    assert result.effect("deu_Latn", "loss")["shuffled"] == 0
    assert result.table().row_count == 3


def test_parallel_texts_stay_parallel_in_a_half():
    model, tokenizer = make()
    seen = []

    def finder(model, tokenizer, texts):
        seen.append(texts)
        raise KeyError

    with pytest.raises(KeyError):
        evaluate(model, tokenizer, finder, UNSEEN, finding=FINDING)
    rows = {code: [FINDING[code].index(text) for text in lines] for code, lines in seen[0].items()}
    assert rows["deu_Latn"] == rows["eng_Latn"] == rows["rus_Cyrl"]


def test_an_output_of_constant_cost_has_no_width():
    from xalign.judging.probe import _per_token
    from xalign.statistics.intervals import bootstrap_interval

    counts = torch.arange(1.0, 51.0).double()
    values = _per_token(torch.stack([2.0 * counts, counts], dim=1))
    assert values.mean() == pytest.approx(2.0)
    assert bootstrap_interval(values) == pytest.approx((2.0, 2.0))
    generator = torch.Generator().manual_seed(0)
    sums = counts * 2 + torch.randn(50, generator=generator).double() * counts.sqrt()
    values = _per_token(torch.stack([sums, counts], dim=1))
    assert values.mean() == pytest.approx((sums.sum() / counts.sum()).item())
    # The spread of the ratio, by resampling both.
    draws = np.random.default_rng(0).integers(0, 50, size=(4000, 50))
    ratios = sums.numpy()[draws].sum(1) / counts.numpy()[draws].sum(1)
    low, high = bootstrap_interval(values)
    assert high - low == pytest.approx(np.quantile(ratios, 0.975) - np.quantile(ratios, 0.025), rel=0.1)
    assert np.isinf(_per_token(torch.zeros(3, 2, dtype=torch.float64))).all()


def test_zeroing_a_languages_units_hits_that_language():
    """Babel: units found on other meanings, at most 4 %, against all other languages and random units."""
    model, tokenizer = load_babel("aligned")
    result = evaluate(
        model,
        tokenizer,
        partial(find_units, share=0.04),
        write_pairs(60, seed=1, split="held_out").texts,
        finding=write_pairs(300, seed=0, split="train").texts,
        seeds=1,
        how={"operator": "zero"},
        random_sets=2,
        labels=["deu_Latn", "spa_Latn"],
    )
    for label in ("deu_Latn", "spa_Latn"):
        rows = {row["language"]: row for row in result.to_rows() if row["label"] == label}
        own = rows.pop(label)
        others = max(row["difference"] for row in rows.values())
        assert own["difference"] > 0.15
        assert own["difference"] > 4 * max(others, own["random_largest"])
        assert own["shuffled"] < own["difference"] / 4
