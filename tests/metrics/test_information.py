"""Normalised mutual information: by hand, against scikit-learn's Gaussians, and the edges."""

import numpy as np
import pytest
import torch
from sklearn.naive_bayes import GaussianNB

from xalign.errors import ArgumentError
from xalign.metrics.information import gaussian_information, normalised_information


def drawn(n, width, seed, labels=3):
    draw = np.random.RandomState(seed)
    label = torch.from_numpy(draw.randint(labels, size=n))
    label[:labels] = torch.arange(labels)
    states = torch.from_numpy(draw.randn(n, width)) + 0.8 * label[:, None] * torch.linspace(0, 1, width)
    return states, label


def by_hand(probability, label):
    """In bits, as the paper has it: per class the mean, weighted by the class's share."""
    shares = {c: sum(one == c for one in label) / len(label) for c in set(label)}
    entropy = -sum(share * np.log2(share) for share in shares.values())
    rest = sum(
        share * np.mean([-np.log2(row[c]) for row, one in zip(probability, label, strict=True) if one == c])
        for c, share in shares.items()
    )
    return (entropy - rest) / entropy


def test_it_is_entropy_less_what_is_left_of_it():
    draw = np.random.RandomState(0)
    probability = draw.dirichlet(np.ones(4), size=30)
    label = draw.randint(4, size=30)
    found = normalised_information(torch.from_numpy(probability).log(), torch.from_numpy(label))
    assert found.item() == pytest.approx(by_hand(probability, label.tolist()))


def test_it_is_between_what_says_nothing_and_what_says_all():
    label = torch.tensor([0, 0, 0, 1])
    shares = torch.tensor([0.75, 0.25]).log().expand(4, 2)
    assert normalised_information(shares, label).item() == pytest.approx(0, abs=1e-6)
    sure = torch.full((4, 2), -1e9).scatter(1, label[:, None], 0.0)
    assert normalised_information(sure, label).item() == 1
    assert normalised_information(torch.full((4, 2), 0.5).log(), label) < 0  # worse than the shares


def test_dimensions_are_those_of_naive_bayes_alone():
    train, label = drawn(90, 5, seed=1)
    dev, other = drawn(60, 5, seed=2)
    found = gaussian_information(train, label, dev, other)
    for column in range(5):
        theirs = GaussianNB(var_smoothing=0).fit(train[:, [column]], label)
        predicted = theirs.predict_proba(dev[:, [column]])
        assert found[column].item() == pytest.approx(by_hand(predicted, other.tolist()), abs=1e-9)
    assert found.argmax() == 4


def test_what_leaves_it_as_it_is():
    train, label = drawn(90, 5, seed=1)
    dev, other = drawn(60, 5, seed=2)
    whole = gaussian_information(train, label, dev, other)
    order, new = torch.randperm(90), torch.tensor([2, 0, 1])
    assert torch.allclose(gaussian_information(train[order], label[order], dev, other), whole)
    assert torch.allclose(gaussian_information(train, new[label], dev, new[other]), whole)
    assert torch.allclose(gaussian_information(7 - 3 * train, label, 7 - 3 * dev, other), whole)
    assert torch.allclose(gaussian_information(train.flip(1), label, dev.flip(1), other), whole.flip(0))


def test_the_edges():
    train, label = drawn(30, 2, seed=0)
    constant = torch.ones(30, 2, dtype=torch.float64)
    assert gaussian_information(constant, label, constant, label).isfinite().all()
    assert gaussian_information(constant, label, constant, label) == pytest.approx([0, 0], abs=1e-6)
    by_label = label[:, None].double()
    assert gaussian_information(by_label, label, by_label, label).item() == pytest.approx(1)
    with pytest.raises(ArgumentError, match="same label"):
        normalised_information(torch.zeros(3, 2), torch.zeros(3, dtype=torch.long))
    with pytest.raises(ArgumentError, match=r"1 training example\(s\)"):
        gaussian_information(train[:3], torch.tensor([0, 1, 1]), train, label)
