"""Language silhouette and identity probe: scikit-learn, what leaves them as they are, nulls and edges."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import silhouette_samples
from sklearn.preprocessing import StandardScaler

from tests.metrics.structures import draw, rotation
from xalign.errors import ArgumentError
from xalign.metrics.language_probe import _fit, language_probe, probe, probe_chance
from xalign.metrics.silhouette import language_silhouette, permuted_silhouette, silhouette


def three_languages(n=30, width=6, apart=1.5):
    states = torch.cat([draw(n, width, seed=s)[0] for s in range(3)])
    labels = torch.arange(3).repeat_interleave(n)
    return states + apart * torch.nn.functional.one_hot(labels, width), labels, torch.arange(n).repeat(3)


def test_silhouette_is_that_of_scikit_learn():
    states, labels, _ = three_languages()
    expected = silhouette_samples(states.double().numpy(), labels.numpy(), metric="cosine")
    assert np.allclose(silhouette(states, labels), expected, atol=1e-9)
    labels[-1] = 7  # alone
    expected = silhouette_samples(states.double().numpy(), labels.numpy(), metric="cosine")
    assert np.allclose(silhouette(states, labels), expected, atol=1e-9) and expected[-1] == 0
    one, two = states[:30], states[30:60]
    both = silhouette_samples(states[:60].double().numpy(), [0] * 30 + [1] * 30, metric="cosine")
    assert language_silhouette(one, two).mean().item() == pytest.approx(both.mean(), abs=1e-9)


@pytest.mark.parametrize("width", [6, 200])
def test_probe_is_that_of_scikit_learn(width):
    """With three languages: bits of multinomial regression with C = 1, on the same folds."""
    states, labels, groups = three_languages(20, width)
    x, right = StandardScaler().fit_transform(states.double().numpy()), np.zeros(60, dtype=bool)
    for fold in range(5):
        held = groups.numpy() % 5 == fold
        model = LogisticRegression(C=1.0, tol=1e-9, max_iter=5000).fit(x[~held], labels.numpy()[~held])
        right[held] = model.predict(x[held]) == labels.numpy()[held]
    assert probe(states, labels, groups).tolist() == right.tolist()
    assert 0.34 < right.mean() < 1


def test_what_leaves_them_as_they_are():
    pivot, other = draw(30, noise=0.5)
    other = other + torch.eye(12)[0] * 1.2
    values = language_silhouette(pivot, other)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(language_silhouette(pivot[order], other[order]), values[order])
    assert torch.allclose(language_silhouette(other, pivot), values)
    assert torch.allclose(
        language_silhouette(pivot @ rotation(12), 2 * other @ rotation(12)), values, atol=1e-5
    )
    bits = language_probe(pivot, other)
    assert 0.5 < bits.mean() < 1
    assert torch.equal(language_probe(other, pivot), bits)
    units = torch.randperm(12, generator=torch.Generator().manual_seed(2))
    assert torch.equal(language_probe(3 * pivot[:, units] + 1, 3 * other[:, units] + 1), bits)


def test_languages_that_lie_apart_and_permuted_ones():
    pivot, other = draw(60, noise=0.1)
    apart = other + 20 * torch.eye(12)[0]
    assert language_silhouette(pivot, apart).mean() > 0.3 > 0 > permuted_silhouette(pivot, apart).mean()
    assert language_silhouette(pivot, other).mean() < 0.01
    assert language_probe(pivot, apart).mean() == 1
    drawn = [language_probe(draw(40, seed=s)[0], draw(40, seed=s + 100)[0]).mean().item() for s in range(40)]
    assert np.mean(drawn) == pytest.approx(probe_chance(40), abs=0.04)


@pytest.mark.parametrize("labels", [2, 3])
def test_the_fit_is_where_the_penalised_loss_is_least(labels):
    """No slope of Σ cross-entropy + ‖W‖² / 2 is left, to 1e-3, wherever the fit began."""
    draw_of = np.random.RandomState(0)
    x, wanted = draw_of.randn(60, 5), np.arange(60) % labels
    start = (draw_of.randn(5, labels), draw_of.randn(labels))
    for begin in (None, start):
        weights, bias = (torch.from_numpy(one).requires_grad_() for one in _fit(x, wanted, labels, begin))
        scores = torch.from_numpy(x) @ weights + bias
        lost = torch.nn.functional.cross_entropy(scores, torch.from_numpy(wanted), reduction="sum")
        (lost + weights.square().sum() / 2).backward()
        assert weights.grad.abs().max() < 1e-3 and bias.grad.abs().max() < 1e-3


def test_a_translation_is_never_in_another_fold():
    """Each sentence has its own direction, and the sign says the language: nothing carries over."""
    states = torch.eye(20)
    assert language_probe(states, -states).mean() <= 0.6
    # With a translation among what is learnt from, the direction would be known.
    labels, groups = (torch.arange(40) >= 20).long(), torch.arange(20)
    elsewhere = torch.cat([groups, 20 + (groups + 1) % 20])
    assert probe(torch.cat([states, -states]), labels, elsewhere).double().mean() >= 0.9


def test_the_edges():
    same = torch.ones(10, 3)
    assert language_silhouette(same, same).tolist() == [0.0] * 10
    assert language_probe(same, same).mean() <= 0.5
    with pytest.raises(ArgumentError, match="one label"):
        silhouette(same, torch.zeros(10, dtype=torch.long))
    with pytest.raises(ArgumentError, match=r"1 label\(s\)"):
        probe(same, torch.zeros(10, dtype=torch.long), torch.arange(10))
    with pytest.raises(ArgumentError, match="without fold 0, a label has no sentence"):
        probe(same, (torch.arange(10) == 0).long(), torch.arange(10))
    with pytest.raises(ArgumentError, match="at least 5"):
        language_probe(same[:4], same[:4])
