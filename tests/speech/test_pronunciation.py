"""Phones, their distances, and pairs that sound alike beside pairs that do not."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from tests.reports import PAIRS, N, report_of, result
from xalign import ParallelPairs, Site
from xalign.errors import ArgumentError
from xalign.metrics.scale import Scale
from xalign.speech import by_pronunciation, phone_distance, phone_distances, phone_similarity
from xalign.speech.pronunciation import phones_in
from xalign.statistics.shares import newcombe_interval


def by_hand(one, other):
    """The edit distance, by the recursion that defines it."""
    if not one or not other:
        return len(one) + len(other)
    same = by_hand(one[1:], other[1:]) + (one[0] != other[0])
    return min(same, by_hand(one[1:], other) + 1, by_hand(one, other[1:]) + 1)


def test_distance_against_the_recursion():
    generator = np.random.default_rng(0)
    for _ in range(40):
        one, other = (tuple(generator.choice(list("abc"), size=generator.integers(1, 6))) for _ in range(2))
        expected = by_hand(one, other) / max(len(one), len(other))
        assert phone_distance(one, other) == pytest.approx(expected)
        assert phone_distance(other, one) == pytest.approx(expected)
    assert phone_distance(("a",), ("a",)) == 0
    assert phone_distance((), ()) == 0
    assert phone_distance((), ("a", "b")) == 1


def test_similarity_of_all():
    pivot, other = [("a", "b"), ("c",)], [("a", "b"), ("a",), ("c", "d")]
    assert phone_similarity(pivot, other).tolist() == [[1.0, 0.5, 0.0], [0.0, 0.0, 0.5]]


@pytest.mark.parametrize(
    ("ipa", "phones"),
    [
        ("ɡˈuːtən tˈɑːk\n", ["ɡ", "u", "t", "ə", "n", "t", "ɑ", "k"]),
        ("(en)hˈɛləʊ(de)", ["h", "ɛ", "l", "ə", "ʊ"]),
        ("tʲˈõ", ["tʲ", "õ"]),
        ("", []),
    ],
)
def test_phones(ipa, phones):
    assert list(phones_in(ipa)) == phones


def test_thirds_that_sound_alike_and_unlike():
    bits = torch.zeros(1, N, dtype=torch.bool)
    bits[0, [0, 1, 2, 5]] = True
    share = Scale("Found", bounds=(0.0, 1.0))
    report = report_of(found=result("found", share, [Site("hidden", 0)], bits))
    distances = list(np.linspace(0.1, 0.9, N))
    first, _ = by_pronunciation(report, "found", {"deu_Latn": distances, "rus_Cyrl": distances})
    assert (first["alike"], first["unlike"]) == (0.75, 0.0)
    assert (first["low"], first["high"]) == pytest.approx(newcombe_interval(3, 4, 0, 4))
    assert first["spearman"] == pytest.approx(spearmanr(distances, bits[0].double()).statistic)
    other = by_pronunciation(report, "found", {"deu_Latn": distances[::-1], "rus_Cyrl": distances})[0]
    assert (other["alike"], other["unlike"]) == (0.0, 0.75)
    with pytest.raises(ArgumentError, match="distances has 0 for 12 pairs of rus_Cyrl"):
        by_pronunciation(report, "found", {"deu_Latn": distances})
    real = report_of(found=result("found", share, [Site("hidden", 0)], bits.double()))
    with pytest.raises(ArgumentError, match="no bits"):
        by_pronunciation(real, "found", {"deu_Latn": distances, "rus_Cyrl": distances})


def test_what_espeak_reads(speech):  # noqa: ARG001
    """Sentences that sound alike are nearer than others; what is equal is at 0."""
    text = {"en": ["Internet hotel.", "The dog sleeps."], "de": ["Internet-Hotel.", "Der Hund schläft."]}
    pairs = ParallelPairs(text)
    near, far = phone_distances(pairs, {"eng_Latn": "en-us", "deu_Latn": "de"})["deu_Latn"]
    assert near < 0.5 < far
    same = phone_distances(pairs, {"eng_Latn": "de", "deu_Latn": "de"})
    assert same["deu_Latn"][0] < near
    with pytest.raises(ArgumentError, match="voices has none for deu_Latn"):
        phone_distances(pairs, {"eng_Latn": "en-us"})
    with pytest.raises(ArgumentError, match="voice='xx'"):
        phone_distances(pairs, {"eng_Latn": "en-us", "deu_Latn": "xx"})
    assert PAIRS.pivot == "eng_Latn"
