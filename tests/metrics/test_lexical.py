import pytest
import torch

from xalign.metrics.lexical import lexical_similarity
from xalign.metrics.weak_alignment import weak_alignment


def by_hand(pivot, other):
    """Dense vectors and the definition of the cosine."""
    size = 1 + max(token for ids in (*pivot, *other) for token in ids)

    def vector(ids):
        v = [0.0] * size
        for t, token in enumerate(ids, start=1):
            v[token] += t / (len(ids) * (len(ids) + 1) / 2)
        return torch.tensor(v, dtype=torch.double)

    return torch.tensor(
        [[torch.cosine_similarity(vector(a), vector(b), dim=0).item() for b in other] for a in pivot],
        dtype=torch.double,
    )


def test_against_the_definition():
    generator = torch.Generator().manual_seed(0)
    sides = [
        [
            torch.randint(0, 12, (int(length),), generator=generator).tolist()
            for length in torch.randint(1, 9, (15,), generator=generator)
        ]
        for _ in range(2)
    ]
    assert torch.allclose(lexical_similarity(*sides), by_hand(*sides), atol=1e-11)


def test_repeated_tokens_add_up_and_nothing_shared_gives_zero():
    c = lexical_similarity([[5, 5, 5], [7]], [[5], [9]])
    assert c.tolist() == [[1.0, 0.0], [0.0, 0.0]]
    assert weak_alignment(c).tolist() == [True, False]


def test_it_knows_positions():
    near_the_end = lexical_similarity([[1, 2, 3], [8]], [[4, 5, 3], [9]])[0, 0]
    at_the_front = lexical_similarity([[3, 1, 2], [8]], [[3, 4, 5], [9]])[0, 0]
    assert near_the_end == pytest.approx(9 / 14)
    assert at_the_front == pytest.approx(1 / 14)
