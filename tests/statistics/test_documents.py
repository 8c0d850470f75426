"""Intervals and tests over documents, whose sentences are no independent draws."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import t

from xalign.statistics.documents import Documents, documents_of
from xalign.statistics.intervals import (
    bootstrap_interval,
    largest_layer_interval,
    layer_interval,
    paired_p_value,
    share_interval,
)
from xalign.statistics.regressions import find_regressions


def names_of(sizes):
    return tuple(f"document {number}" for number, size in enumerate(sizes) for _ in range(size))


def clustered(generator, sizes, spread):
    """Bits whose share differs by document: a Beta distribution with mean .4."""
    shares = generator.beta(0.4 / spread, 0.6 / spread, size=len(sizes))
    return (generator.random(sum(sizes)) < np.repeat(shares, sizes)).astype(float)


def test_which_sentences_stand_together():
    found = documents_of(("b", "a", "b", "c", "d", "e", "f", "a"))
    assert found.number.tolist() == [0, 1, 0, 2, 3, 4, 5, 1]
    assert (found.sizes.tolist(), found.count) == ([2, 2, 1, 1, 1, 1], 6)
    assert found.sums(np.arange(8.0)).tolist() == [2, 8, 3, 4, 5, 6]


@pytest.mark.parametrize("names", [None, tuple("aabbccddee"), tuple("abcdefgh"), ("a", "a")])
def test_sentences_are_resampled_where_documents_say_nothing(names):
    """No documents, fewer than six of them, or one of each sentence."""
    assert documents_of(names) is None


def test_the_bootstrap_draws_whole_documents():
    """Every resample is a mean over sentences of drawn documents, found here by drawing them one by one."""
    sizes = [1, 2, 3, 4, 5, 6]
    documents, values = documents_of(names_of(sizes)), np.random.default_rng(0).normal(size=21)
    members = np.split(values, np.cumsum(sizes)[:-1])
    drawn = np.random.default_rng(5).integers(0, 6, size=(2000, 6))
    means = [np.concatenate([members[number] for number in row]).mean() for row in drawn]
    outside = 0.00243  # where the normal quantile is √(6/5) times Student's of five degrees of freedom
    expected = np.quantile(means, [outside, 1 - outside])
    assert bootstrap_interval(values, seed=5, documents=documents) == pytest.approx(expected, abs=0.01)
    assert layer_interval(values, seed=5, documents=documents) == pytest.approx(expected, abs=0.01)
    layers = largest_layer_interval([values[None]], seed=5, documents=documents)
    assert layers == bootstrap_interval(values, seed=5, documents=documents)


def test_shares_against_a_cluster_robust_interval():
    """With 400 documents Wilson's interval is about the normal one, of the variance of documents' sums."""
    generator, sizes = np.random.default_rng(0), [1, 3, 4, 8] * 100
    values = clustered(generator, sizes, spread=0.5)
    mean, n = values.mean(), len(values)
    parts = np.split(values - mean, np.cumsum(sizes)[:-1])
    error = np.sqrt(400 / 399 * sum(part.sum() ** 2 for part in parts)) / n
    expected = mean + np.array([-1, 1]) * t.ppf(0.975, 399) * error
    low, high = share_interval(values, documents=documents_of(names_of(sizes)))
    assert (low, high) == pytest.approx(expected, abs=0.06 * error)
    plain = share_interval(values)
    assert high - low > 1.5 * (plain[1] - plain[0])


def test_documents_never_make_an_interval_of_shares_narrower():
    generator = np.random.default_rng(3)
    for _ in range(50):
        sizes = generator.integers(1, 9, size=generator.integers(6, 40))
        values = generator.binomial(6, generator.random(), size=sizes.sum()) / 6
        low, high = share_interval(values, documents=documents_of(names_of([*sizes, 2])[: len(values)]))
        plain_low, plain_high = share_interval(values)
        assert low <= plain_low
        assert high >= plain_high


@pytest.mark.parametrize("hits", [0, 40])
def test_equal_bits_have_an_interval(hits):
    documents = documents_of(names_of([4] * 10))
    low, high = share_interval(np.array([1.0] * hits + [0.0] * (40 - hits)), documents=documents)
    assert 0.08 < high - low < 0.15


def test_the_order_of_sentences_and_the_names_do_not_matter():
    generator = np.random.default_rng(1)
    names, values = names_of([3, 1, 4, 1, 5, 9, 2]), generator.random(25)
    order = generator.permutation(25)
    first = share_interval(values, documents=documents_of(names))
    other = tuple(names[row].upper() for row in order)
    assert share_interval(values[order], documents=documents_of(other)) == pytest.approx(first, abs=1e-12)


@pytest.mark.parametrize("spread", [0.05, 0.5, 2.0])
@pytest.mark.parametrize("count", [8, 30])
def test_intervals_over_documents_cover(count, spread):
    """400 draws of documents of 2 to 10 sentences. Intervals over sentences fail where documents differ."""
    generator = np.random.default_rng(0)
    covered = {"shares": 0, "bootstrap": 0, "sentences": 0}
    for draw in range(400):
        sizes = generator.integers(2, 11, size=count)
        values, documents = clustered(generator, sizes, spread), documents_of(names_of(sizes))
        for name, (low, high) in (
            ("shares", share_interval(values, documents=documents)),
            ("bootstrap", bootstrap_interval(values, seed=draw, resamples=500, documents=documents)),
            ("sentences", share_interval(values)),
        ):
            covered[name] += low <= 0.4 <= high
    assert covered["shares"] >= 0.93 * 400
    assert covered["bootstrap"] >= 0.88 * 400
    assert spread < 0.5 or covered["sentences"] < 0.85 * 400


def test_signs_of_a_document_flip_together():
    sizes = [5, 1, 2, 4, 3, 6]
    differences = np.random.default_rng(2).normal(0.4, size=21)
    sums = [part.sum() for part in np.split(differences, np.cumsum(sizes)[:-1])]
    exact = np.mean([abs(np.dot(signs, sums)) >= abs(sum(sums)) for signs in product([-1, 1], repeat=6)])
    found = paired_p_value(differences, resamples=20_000, documents=documents_of(names_of(sizes)))
    assert found == pytest.approx(exact, abs=0.01)
    assert paired_p_value(differences) != pytest.approx(exact, abs=0.01)


def test_regressions_are_tested_over_documents():
    """Sixty sentences of six documents fall together: that is six differences, and not sixty."""
    documents = documents_of(names_of([10] * 6))
    fallen = {"deu_Latn": np.array([[0.9] * 60, [0.2] * 60])}
    assert "deu_Latn" in find_regressions(fallen)
    assert find_regressions(fallen, documents={"deu_Latn": documents}) == {}
    single = {"deu_Latn": documents_of(names_of([1] * 58 + [2]))}
    assert "deu_Latn" in find_regressions(fallen, documents=single)
    assert isinstance(documents, Documents)
