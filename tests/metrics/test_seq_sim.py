"""SeqSim against plain loops, its invariances, and its edges."""

import numpy as np
import pytest
import torch

from xalign.errors import ArgumentError
from xalign.metrics.seq_sim import seq_sim, seq_sim_matrix


def drawn(lengths, width=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(length, width, generator=generator) for length in lengths]


def by_hand(x, y, f_measure=False):
    a, b = (side.double().numpy() for side in (x, y))
    cosines = np.array([[u @ v / np.linalg.norm(u) / np.linalg.norm(v) for v in b] for u in a])
    there, back = np.mean([max(row) for row in cosines]), np.mean([max(column) for column in cosines.T])
    return 2 * there * back / (there + back) if f_measure else (there + back) / 2


def test_against_plain_loops():
    xs, ys = drawn([3, 1, 7, 4]), drawn([2, 6, 1], seed=1)
    found = seq_sim_matrix(xs, ys)
    assert found.shape == (4, 3)
    for i, x in enumerate(xs):
        for j, y in enumerate(ys):
            assert found[i, j].item() == pytest.approx(by_hand(x, y), abs=1e-6)
            assert seq_sim(x, y) == pytest.approx(by_hand(x, y), abs=1e-6)
    positive = [one.abs() for one in (*xs, *ys)]
    assert seq_sim(positive[0], positive[4], f_measure=True) == pytest.approx(
        by_hand(positive[0], positive[4], f_measure=True), abs=1e-6
    )


def test_invariances():
    xs, ys = drawn([3, 5]), drawn([4, 2], seed=2)
    found = seq_sim_matrix(xs, ys)
    assert torch.allclose(seq_sim_matrix(ys, xs), found.T)
    assert torch.allclose(seq_sim_matrix([7 * x for x in xs], [y.flip(0) for y in ys]), found, atol=1e-6)
    assert torch.allclose(seq_sim_matrix([torch.cat([x, x]) for x in xs], ys), found, atol=1e-6)
    assert torch.allclose(seq_sim_matrix(xs, xs).diagonal(), torch.ones(2).double(), atol=1e-6)


def test_edges():
    assert seq_sim(torch.zeros(2, 3), torch.ones(1, 3)) == 0.0
    assert seq_sim(torch.ones(1, 3), -torch.ones(4, 3)) == pytest.approx(-1)
    with pytest.raises(ArgumentError, match="no frame"):
        seq_sim(torch.zeros(0, 3), torch.ones(1, 3))
    with pytest.raises(ArgumentError, match="above 0 both ways"):
        seq_sim(torch.ones(1, 3), -torch.ones(4, 3), f_measure=True)
