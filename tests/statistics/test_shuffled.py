import numpy as np
import pytest
import torch

from xalign.errors import ArgumentError
from xalign.metrics.cosine import cosine_matrix
from xalign.metrics.retrieval import retrieval_from_pivot
from xalign.metrics.weak_alignment import weak_alignment, weak_alignment_chance
from xalign.statistics.shuffled import shuffled_null


def similarity(n=60):
    generator = torch.Generator().manual_seed(0)
    pivot = torch.randn(n, 30, generator=generator)
    return cosine_matrix(pivot, pivot + 0.3 * torch.randn(n, 30, generator=generator))


def test_the_null_is_at_chance_where_the_score_is_not():
    c = similarity()
    assert weak_alignment(c).double().mean() > 0.9
    null = shuffled_null(c, draws=400)
    assert null.mean().item() == pytest.approx(
        weak_alignment_chance(60), abs=4 * null.std().item() / 20 + 0.01
    )
    assert null.max() < 0.2
    assert shuffled_null(c, metric=retrieval_from_pivot).mean().item() == pytest.approx(1 / 60, abs=0.01)


def test_seeds():
    c = similarity()
    assert torch.equal(shuffled_null(c, seed=1), shuffled_null(c, seed=1))
    assert not torch.equal(shuffled_null(c, seed=1), shuffled_null(c, seed=2))
    with pytest.raises(ArgumentError, match="draws=0"):
        shuffled_null(c, draws=0)


def test_hubs_lower_it():
    """Where one sentence is near to everything, chance for these very vectors is below 1/(2n − 1)."""
    c = similarity()
    c[:, 0] = 2.0
    assert shuffled_null(c, draws=100).mean() < weak_alignment_chance(60) + np.finfo(float).eps
