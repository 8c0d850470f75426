"""LAPE: the reference's toys, the penalised form written by hand, invariances, and what is refused."""

import math

import numpy as np
import pytest
import torch
from numpy.random import RandomState

from xalign.errors import XAlignError
from xalign.metrics.lape import lape


def toy():
    """Of the reference: [layer, neuron, language] counts of 100 tokens."""
    counts = RandomState(30).binomial(100, np.clip(RandomState(31).rand(2, 10, 3) ** 3, 0, 1))
    return torch.from_numpy(counts / 100).flatten(0, 1).T


def test_the_reference_toys():
    found = lape(toy(), share=0.1)
    assert found.bar == 0.89
    assert found.chosen.tolist() == [9, 1]
    assert found.score[found.chosen].tolist() == pytest.approx([0.059432, 0.113769], abs=1e-6)
    wider = lape(toy(), share=0.2)  # a fourth has no finite entropy, and is not taken
    assert wider.chosen.tolist() == [9, 1, 6]
    assert wider.score[6].item() == pytest.approx(0.203763, abs=1e-6)
    rows = torch.tensor([(0.9, 0.1, 0.1), (0.5, 0.5, 0.5), (0.02, 0.01, 0.0), (0.3, 0.8, 0.7)])
    small = lape(rows.T, share=1.0)
    assert small.bar == pytest.approx(0.8)
    assert small.chosen.tolist() == [0]
    assert small.score[0].item() == pytest.approx(0.60016, abs=1e-5)
    assert [small.neurons_of(language).tolist() for language in range(3)] == [[0], [], []]


def test_equal_in_all_languages_is_last_and_never_active_is_out():
    probability = torch.rand(4, 50).double() * 0.5
    probability[:, 7], probability[:, 8] = 0.9, 0.0
    found = lape(probability, share=1.0, bar=0.5)
    assert found.chosen[-1] == 7
    assert found.score[7].item() == pytest.approx(math.log(4))
    assert found.score[8] == torch.inf
    assert found.reach[7] == 4


def test_names_of_languages_do_not_matter():
    torch.manual_seed(0)
    probability, order = torch.rand(5, 200) ** 3, torch.tensor([3, 0, 4, 1, 2])
    for penalty in (None, 0.05, "auto"):
        plain = lape(probability, share=0.1, penalty=penalty)
        other = lape(probability[order], share=0.1, penalty=penalty)
        assert other.chosen.tolist() == plain.chosen.tolist()
        for place, language in enumerate(order.tolist()):
            assert other.neurons_of(place).tolist() == plain.neurons_of(language).tolist()


@pytest.mark.parametrize(("languages", "scale"), [(10, 0.2928968253968254), (7, 0.37040816326530607)])
def test_the_penalised_score_by_hand(languages, scale):
    torch.manual_seed(1)
    probability = torch.rand(languages, 20).double() ** 2
    probability[:, 3] = 0.0  # takes the uniform distribution
    expected = []
    for neuron in probability.T.tolist():
        floored = [max(p, 1e-12) for p in neuron]
        shares = [p / sum(floored) for p in floored]
        entropy = -sum(p * math.log(p) for p in shares)
        expected.append(entropy / math.log(languages) - 0.07 * max(floored) / scale)
    found = lape(probability, share=0.25, penalty=0.07)
    assert found.score.tolist() == pytest.approx(expected, abs=1e-12)
    assert found.score[3].item() == pytest.approx(1.0)
    assert found.chosen.tolist() == np.argsort(expected)[:5].tolist()


def test_auto_takes_the_largest_penalty_without_a_general_neuron():
    torch.manual_seed(2)
    probability = 0.01 + torch.rand(3, 2000).double() / 20
    probability[:, :300] = 1 - probability[:, :300]

    def general(penalty):
        found = lape(probability, share=0.3, bar=0.6, penalty=penalty)
        return bool((found.reach[found.chosen] == 3).any())

    found = lape(probability, share=0.3, bar=0.6, penalty="auto")
    assert 0 < found.penalty < 0.2
    assert not general(found.penalty)
    assert general(found.penalty + 2e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lape(torch.rand(1, 9)), r"at least 2 languages; it is \(1, 9\)"),
        (lambda: lape(torch.rand(2, 9, 3)), r"it is \(2, 9, 3\)"),
        (lambda: lape(torch.ones(2, 9, dtype=torch.long)), "probability must be a tensor of floating"),
        (lambda: lape([[0.5]]), "probability must be a tensor of floating"),
        (lambda: lape(torch.rand(2, 9) + 1), "not between 0 and 1"),
        (lambda: lape(torch.full((2, 9), torch.nan)), "not between 0 and 1"),
        (lambda: lape(torch.rand(2, 200), share=0), "share=0 must be above 0"),
        (lambda: lape(torch.rand(2, 200), share=1.5), "share=1.5 and bar=0.95 must be at most 1"),
        (lambda: lape(torch.rand(2, 200), bar=2.0), "bar=2.0 must be at most 1"),
        (lambda: lape(torch.rand(2, 9)), "share=0.01 of 9 neurons rounds to 0 neurons; raise it"),
        (lambda: lape(torch.rand(2, 200), penalty=-1.0), "penalty=-1.0 must be 0 or above 0"),
        (lambda: lape(torch.rand(2, 200), penalty="large"), "penalty='large' must be a number"),
    ],
)
@pytest.mark.usefixtures("as_for_users")
def test_bad_input(call, message):
    with pytest.raises(XAlignError, match=message):
        call()
