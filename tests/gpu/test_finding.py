"""Finding units on a CUDA device finds those of the CPU, but for ties and rounding."""

import pytest
import torch

from tests.tiny import make_model, make_tokenizer
from xalign import load_pairs
from xalign.finding.find import find_units
from xalign.finding.mean_difference import mean_difference
from xalign.metrics.average_precision import average_precision

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]

TEXTS = load_pairs("bundled", ["deu", "rus", "zho"], n=60).texts


@pytest.mark.parametrize("method", ["lape", "expert_ap"])
@pytest.mark.parametrize("family", ["llama", "qwen3_moe"])
def test_units_are_those_of_the_cpu(method, family, device):
    found, expected = (
        find_units(make_model(family).to(where), make_tokenizer(), TEXTS, method=method, share=0.1)
        for where in (device, "cpu")
    )
    assert len(expected) > 10
    assert len(found) == pytest.approx(len(expected), abs=2)
    # Where the last of those chosen and the first that is not are equal up to rounding, either is right.
    assert len(found.places & expected.places) >= len(expected.places) - 2
    scores = {(unit.label, str(unit.site), unit.index): unit.score for unit in expected}
    own = {(unit.label, str(unit.site), unit.index): unit.score for unit in found}
    gaps = [abs(own[key] - scores[key]) for key in own.keys() & scores.keys()]
    assert max(gaps) < 1e-2
    assert sum(gap > 1e-5 for gap in gaps) <= 0.05 * len(gaps)


def test_vectors_are_those_of_the_cpu(device):
    found, expected = (
        mean_difference(make_model("llama").to(where), make_tokenizer(), TEXTS, ["1.hidden"])
        for where in (device, "cpu")
    )
    for label, vectors in expected.items():
        for site, vector in vectors.vectors.items():
            other = found[label].vectors[site]
            assert (other.cpu() - vector).norm() / vector.norm() < 1e-4


def test_average_precision_of_scores_on_the_device(device):
    torch.manual_seed(0)
    scores, positive = torch.randn(300, 50), torch.rand(300) < 0.3
    scores[:, 7] = 1.0
    scores[:, 9] = scores[:, 9].round()
    found = average_precision(scores.to(device), positive.to(device))
    assert torch.allclose(found.cpu(), average_precision(scores, positive), rtol=0, atol=1e-12)
