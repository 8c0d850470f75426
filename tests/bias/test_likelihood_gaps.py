"""Likelihood gaps: against log-softmax one sentence at a time, what counts, and what is refused."""

import numpy as np
import pytest
import torch

from tests.tiny import make_model, make_tokenizer
from xalign.bias import likelihood_gaps, load_bias_list
from xalign.errors import ArgumentError, ArgumentTypeError, ModelError

PAIRS = load_bias_list("kin_and_work").pairs


@torch.no_grad()
def token_likelihoods(model, text):
    """Token -> its log-likelihood given what precedes it, one sentence at a time."""
    ids = make_tokenizer()(text)["input_ids"]
    logits = model(input_ids=torch.tensor([ids])).logits[0].double()
    return ids, [float(torch.log_softmax(logits[at - 1], -1)[ids[at]]) for at in range(1, len(ids))]


def shared_from_the_end(one, other):
    """How many tokens two sequences share at their ends, and at their beginnings."""
    end = 0
    while end < min(len(one), len(other)) and one[-1 - end] == other[-1 - end]:
        end += 1
    return end


def test_all_tokens_count_as_log_softmax_says():
    model = make_model("llama")
    found = likelihood_gaps(model, make_tokenizer(), PAIRS, count="all", token_budget=100)
    per_token = likelihood_gaps(model, make_tokenizer(), PAIRS, count="all", per_token=True)
    for code, pairs in PAIRS.items():
        sides = [[token_likelihoods(model, text)[1] for text in pair] for pair in pairs]
        expected = [sum(one) - sum(other) for one, other in sides]
        assert np.allclose(found[code].gaps, expected, atol=1e-3)
        assert found[code].mean == pytest.approx(np.mean(expected), abs=1e-3)
        assert found[code].preferred == pytest.approx(np.mean([gap > 0 for gap in expected]))
        means = [np.mean(one) - np.mean(other) for one, other in sides]
        assert np.allclose(per_token[code].gaps, means, atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_shared_tokens_behind_one_difference_count(family):
    """Pairs that differ at one place: what counts is the shared end."""
    model = make_model(family)
    pairs = {
        "eng_Latn": [("The man eats bread.", "The boy eats bread."), ("A cat is here.", "A dog is here.")]
    }
    found = likelihood_gaps(model, make_tokenizer(), pairs)["eng_Latn"]
    for (one, other), gap in zip(pairs["eng_Latn"], found.gaps, strict=True):
        (ids, mine), (others, theirs) = token_likelihoods(model, one), token_likelihoods(model, other)
        end = shared_from_the_end(ids, others)
        assert 0 < end < len(ids) - 1
        middle = set(ids[:-end]) & set(others[:-end])
        assert middle == set(ids[: len(middle)])  # the difference itself shares nothing
        assert gap == pytest.approx(sum(mine[-end:]) - sum(theirs[-end:]), abs=1e-3)
    everything = likelihood_gaps(model, make_tokenizer(), pairs, count="all")["eng_Latn"]
    assert not np.allclose(found.gaps, everything.gaps, atol=1e-2)


def test_the_other_way_round_is_the_opposite():
    model = make_model("llama")
    turned = {code: [pair[::-1] for pair in pairs] for code, pairs in PAIRS.items()}
    found, opposite = (likelihood_gaps(model, make_tokenizer(), one) for one in (PAIRS, turned))
    for code in PAIRS:
        assert np.allclose(found[code].gaps, -opposite[code].gaps, atol=1e-4)
        assert found[code].preferred == pytest.approx(1 - opposite[code].preferred)
        assert found[code].low < found[code].mean < found[code].high
        low, high = found[code].preferred_interval
        assert low <= found[code].preferred <= high


def test_one_pair_has_no_interval():
    found = likelihood_gaps(make_model("llama"), make_tokenizer(), {"eng_Latn": PAIRS["eng_Latn"][:1]})
    assert (found["eng_Latn"].low, found["eng_Latn"].high) == (None, None)


def test_what_is_refused():
    model, tokenizer = make_model("llama"), make_tokenizer()
    with pytest.raises(ArgumentError, match=r"pairs\['eng_Latn'\]\[1\] has no shared token behind"):
        likelihood_gaps(
            model, tokenizer, {"eng_Latn": [("He reads.", "She reads."), ("It is red", "It is blue")]}
        )
    with pytest.raises(ArgumentError, match="without a difference"):
        likelihood_gaps(model, tokenizer, {"eng_Latn": [("He.", "He.")]})
    with pytest.raises(ArgumentError, match=r"pairs\['eng_Latn'\] is empty"):
        likelihood_gaps(model, tokenizer, {"eng_Latn": []})
    with pytest.raises(ArgumentTypeError, match="must hold pairs of sentences"):
        likelihood_gaps(model, tokenizer, {"eng_Latn": ["He", "She"]})
    with pytest.raises(ArgumentTypeError, match="must map languages"):
        likelihood_gaps(model, tokenizer, [("He", "She")])
    with pytest.raises(ArgumentError, match="count='some' must be one of shared, all"):
        likelihood_gaps(model, tokenizer, PAIRS, count="some")
    with pytest.raises(ModelError, match="predicts no tokens"):
        likelihood_gaps(make_model("bert"), tokenizer, PAIRS)
