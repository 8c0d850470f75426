"""Angular similarity: against arccos, known angles, invariances."""

import math

import pytest
import torch

from xalign.errors import ArgumentError
from xalign.metrics.angular import angular_similarity


@pytest.mark.parametrize("degrees", [0, 1e-6, 30, 45, 90, 120, 179.999, 180])
def test_known_angles(degrees):
    angle = math.radians(degrees)
    one = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    other = 5 * torch.tensor([[math.cos(angle), math.sin(angle), 0.0]], dtype=torch.float64)
    assert angular_similarity(one, other).item() == pytest.approx(1 - degrees / 180, abs=1e-12)
    assert angular_similarity(one, other, scale="signed").item() == pytest.approx(1 - degrees / 90, abs=1e-12)


def test_against_arccos_of_the_cosine():
    torch.manual_seed(0)
    one, other = torch.randn(20, 8), torch.randn(20, 8)
    cosine = torch.nn.functional.cosine_similarity(one.double(), other.double())
    found = angular_similarity(one, other)
    assert torch.allclose(found, 1 - cosine.arccos() / math.pi)
    assert torch.allclose(angular_similarity(other, 3 * one), found)
    # The published range: 1 - (2 / pi) * arccos(clip(cos)).
    signed = 1 - 2 / math.pi * cosine.clip(-1, 1).arccos()
    assert torch.allclose(angular_similarity(one, other, scale="signed"), signed)


@pytest.mark.parametrize(
    ("one", "other", "options", "said"),
    [
        (torch.zeros(1, 2), torch.ones(1, 2), {}, "is 0 or not finite"),
        (torch.ones(1, 2), torch.tensor([[float("nan"), 1.0]]), {}, "is 0 or not finite"),
        (torch.ones(1, 2), torch.ones(1, 2), {"scale": "half"}, "one of unit, signed"),
        (torch.ones(2, 2), torch.ones(1, 2), {}, "row i is a pair"),
    ],
)
def test_bad_input(as_for_users, one, other, options, said):
    with pytest.raises(ArgumentError, match=said):
        angular_similarity(one, other, **options)
