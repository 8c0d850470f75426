"""The sparse probe: scikit-learn's solution, its conditions of optimality, and the units of a model."""

import numpy as np
import pytest
import torch
from numpy.random import RandomState
from sklearn.linear_model import LogisticRegression

from tests.tiny import FFN, LAYERS, make_model, make_tokenizer
from xalign import load_pairs
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.finding.activations import activations
from xalign.finding.l1_logistic import l1_logistic
from xalign.finding.l1_probe import l1_probe

BUNDLED = load_pairs("bundled", n=10)
TEXTS = {code: list(BUNDLED[code].sentences) for code in ("deu_Latn", "spa_Latn", "rus_Cyrl")}


def problem(n, width):
    random = RandomState(n)
    x = random.randn(n, width)
    return x, x[:, 0] + x[:, 1] / 2 + random.randn(n) / 2 > 0


@pytest.mark.parametrize(("n", "width", "c"), [(40, 20, 0.5), (30, 60, 1.0), (50, 10, 0.3)])
def test_the_weights_are_those_of_scikit_learn(n, width, c):
    x, positive = problem(n, width)
    weights, intercept = l1_logistic(torch.from_numpy(x), torch.from_numpy(positive), c=c)
    theirs = LogisticRegression(l1_ratio=1, solver="saga", C=c, tol=1e-9, max_iter=100_000).fit(x, positive)
    assert weights.numpy() == pytest.approx(theirs.coef_[0], abs=1e-4)
    assert intercept == pytest.approx(theirs.intercept_[0], abs=1e-4)
    assert ((weights != 0).numpy() == (theirs.coef_[0] != 0)).all()
    assert 0 < int((weights != 0).sum()) < width


def test_the_conditions_of_optimality():
    """The slope of the loss is −sign(w) where w is not 0, and at most 1 in size elsewhere."""
    x, positive = problem(60, 300)
    weights, intercept = l1_logistic(torch.from_numpy(x), torch.from_numpy(positive), c=0.7)
    y = np.where(positive, 1.0, -1.0)
    slope = 0.7 * (-y / (1 + np.exp(y * (x @ weights.numpy() + intercept)))) @ x
    used = weights.numpy() != 0
    assert slope[used] == pytest.approx(-np.sign(weights.numpy()[used]), abs=1e-4)
    assert np.abs(slope[~used]).max() <= 1 + 1e-4


def test_edges():
    with pytest.raises(ArgumentError, match="4 of 4 examples are positive"):
        l1_logistic(torch.ones(4, 2), torch.ones(4, dtype=torch.bool))
    with pytest.raises(ArgumentError, match="c=0 must be above 0"):
        l1_logistic(torch.ones(4, 2), torch.tensor([True, False, True, False]), c=0)
    flat, intercept = l1_logistic(torch.zeros(4, 2), torch.tensor([True, False, False, False]))
    assert flat.tolist() == [0, 0]
    assert intercept == pytest.approx(np.log(1 / 3), abs=1e-5)  # the odds, which are not penalised
    apart, _ = l1_logistic(torch.tensor([[9.0], [-9.0]]), torch.tensor([True, False]), c=1e3)  # separable
    assert 0 < apart.item() < 10


def test_units_by_hand():
    units = l1_probe(make_model("llama"), make_tokenizer(), TEXTS, c=0.5)
    for number, label in enumerate(TEXTS):
        expected, values = {}, {}
        for found in activations(make_model("llama"), make_tokenizer(), TEXTS, pool="mean"):
            x = found.values.double().numpy()
            scaled, own = (x - x.mean(0)) / x.std(0), (found.label == number).numpy()
            probe = LogisticRegression(l1_ratio=1, solver="saga", C=0.5, tol=1e-7, max_iter=20_000)
            weights = probe.fit(scaled, own).coef_[0]
            for unit in np.flatnonzero(weights):
                expected[found.site.layer * FFN + int(unit)] = abs(weights[unit])
                values[found.site.layer * FFN + int(unit)] = np.median(x[own, unit])
        rows = {row.site.layer * FFN + row.index: row for row in units[label]}
        large = {unit for unit, weight in expected.items() if weight > 1e-3}
        assert large <= set(rows) and 3 < len(large) < LAYERS * FFN / 3
        for unit in large:
            assert rows[unit].score == pytest.approx(expected[unit], abs=1e-2)
            assert rows[unit].value == pytest.approx(values[unit], abs=1e-5)
        scores = [row.score for row in units[label]]
        assert scores == sorted(scores, reverse=True) and min(scores) > 0


def test_fewer_units():
    model, tokenizer = make_model("llama"), make_tokenizer()
    everything = l1_probe(model, tokenizer, TEXTS, "1.inner", c=0.5)
    assert l1_probe(model, tokenizer, TEXTS, "1.inner", c=0.5, k=2).rows == everything.top(2).rows
    sparser = l1_probe(model, tokenizer, TEXTS, "1.inner", c=0.3)
    assert len(sparser) < len(everything)
    assert everything.provenance["settings"]["k"] is None


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"c": -1}, ArgumentError, "c=-1 must be above 0"),
        ({"c": 1e-4}, ArgumentError, "no unit has a weight for deu_Latn with c=0.0001; raise c"),
        ({"threshold": 0.5}, ArgumentTypeError, "l1_probe has no option 'threshold'"),
    ],
)
def test_bad_input(options, error, message):
    with pytest.raises(error, match=message):
        l1_probe(make_model("llama"), make_tokenizer(), TEXTS, "1.inner", **options)
