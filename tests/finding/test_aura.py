"""AURA and experts by AUROC: scores by hand, and what dampening does to a running model."""

from functools import cache

import pytest
import torch
from sklearn.metrics import roc_auc_score

from tests.tiny import FFN, LAYERS, make_model, make_tokenizer
from xalign import Site, UnitSet, find_units, load_pairs, visit
from xalign.errors import ArgumentError
from xalign.finding.activations import activations
from xalign.finding.aura import aura
from xalign.finding.expert_auroc import expert_auroc
from xalign.steering.steer import steer

BUNDLED = load_pairs("bundled", n=8)
TEXTS = {code: list(BUNDLED[code].sentences) for code in ("deu_Latn", "spa_Latn", "rus_Cyrl")}
BATCH = {"input_ids": torch.tensor([[1, 20, 30], [1, 40, 50]])}


@cache
def areas_by_hand():
    found = list(activations(make_model("llama"), make_tokenizer(), TEXTS, pool="max"))
    values, label = torch.cat([one.values for one in found], dim=1), found[0].label
    return torch.tensor(
        [
            [roc_auc_score(label == number, values[:, unit]) for unit in range(values.shape[1])]
            for number in range(3)
        ]
    )


def test_experts_are_the_units_with_the_largest_area():
    areas = areas_by_hand()
    units = expert_auroc(make_model("llama"), make_tokenizer(), TEXTS, k=5)
    both = torch.maximum(areas, 1 - areas)
    for number, label in enumerate(TEXTS):
        scores = [row.score for row in units[label]]
        assert scores == pytest.approx(both[number].sort(descending=True).values[:5].tolist(), abs=1e-12)
        for row in units[label]:
            assert row.score == pytest.approx(
                both[number, row.site.layer * FFN + row.index].item(), abs=1e-12
            )
    assert units.provenance["method"] == "expert_auroc"
    assert units.provenance["settings"]["pool"] == "max"
    with pytest.raises(ArgumentError, match=r"texts has 1 label\(s\)"):
        expert_auroc(make_model("llama"), make_tokenizer(), {"deu_Latn": ["Es regnet."]})


def test_every_unit_above_chance_has_its_factor():
    areas = areas_by_hand()
    units = aura(make_model("llama"), make_tokenizer(), TEXTS)
    for number, label in enumerate(TEXTS):
        above = (areas[number] > 0.5).nonzero().squeeze(1)
        assert 0 < len(above) < LAYERS * FFN
        assert {row.site.layer * FFN + row.index for row in units[label]} == set(above.tolist())
        for row in units[label]:
            area = areas[number, row.site.layer * FFN + row.index].item()
            assert (row.score, row.value) == pytest.approx((area, 1 - 2 * (area - 0.5)), abs=1e-12)
        assert [row.score for row in units[label]] == sorted(
            (row.score for row in units[label]), reverse=True
        )


@pytest.mark.parametrize("strength", [None, 0.0, 0.5, 1.0])
def test_dampening_multiplies_each_unit_by_its_factor(strength):
    model, seen = make_model("llama"), []
    units = find_units(model, make_tokenizer(), TEXTS, method="aura")["rus_Cyrl"]
    look = {Site("inner", 0): lambda values: seen.append(values.clone())}
    with torch.no_grad():
        with visit(model, look):
            model(**BATCH)
        with steer(model, units, operator="dampen", strength=strength), visit(model, look):
            model(**BATCH)
    factors = torch.ones(FFN)
    for row in units:
        if row.site == Site("inner", 0):
            factors[row.index] = 1 + (1.0 if strength is None else strength) * (row.value - 1)
    assert torch.allclose(seen[1], seen[0] * factors, rtol=1e-6)
    assert torch.equal(seen[1], seen[0]) is (strength == 0)


def test_det0_and_damp():
    model, tokenizer = make_model("llama"), make_tokenizer()
    areas = areas_by_hand()[0].sort(descending=True).values
    silenced = aura(model, tokenizer, TEXTS, variant="det0", k=7)["deu_Latn"]
    assert len(silenced) == int((areas > areas[7]).sum()) <= 7
    assert {row.value for row in silenced} == {0.0}
    halved = aura(model, tokenizer, TEXTS, variant="damp", k=7, factor=0.25)["deu_Latn"]
    assert {row.value for row in halved} == {0.25} and halved.places == silenced.places


def test_factors_and_values_are_not_taken_for_each_other():
    model, tokenizer = make_model("llama"), make_tokenizer()
    factors = aura(model, tokenizer, TEXTS)["deu_Latn"]
    with (
        pytest.raises(ArgumentError, match="holds factors, not values, and 'set' writes"),
        steer(model, factors),
    ):
        pass
    values = find_units(model, tokenizer, TEXTS, k=3)["deu_Latn"]
    with (
        pytest.raises(ArgumentError, match="holds values, not factors, and 'dampen' multiplies"),
        steer(model, values, operator="dampen"),
    ):
        pass
    with steer(model, factors, operator="zero") as done:
        model(**BATCH)
    by_hand = UnitSet.from_rows([("mine", "0.inner", 3, 1.0, 0.5)])
    with steer(model, by_hand, operator="dampen") as done:
        model(**BATCH)
    assert done.tokens == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "det1"}, "variant='det1' must be one of aura, det0, damp"),
        ({"k": 0}, "k=0 must be at least 1"),
        ({"k": 10**6}, "must be below the number of units, 240"),
        ({"variant": "damp", "factor": 1.0}, "no unit of 240 is to be dampened"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(ArgumentError, match=message):
        aura(make_model("llama"), make_tokenizer(), TEXTS, **options)
