"""Sums, differences and multiples of language vectors."""

import pytest
import torch

from xalign import LanguageVector, Site
from xalign.errors import ArgumentError, ArgumentTypeError

A, B = Site("hidden", 1), Site("hidden", 2)
SHAPE = {"width": 3}
GERMAN = LanguageVector(
    "deu_Latn",
    {A: torch.tensor([1.0, 2.0, 3.0]), B: torch.tensor([0.0, 1.0, 0.0])},
    {"model": "m", "shape": SHAPE, "settings": {"pool": "last"}, "method": "mean_difference"},
    pool="last",
)
SPANISH = LanguageVector(
    "spa_Latn",
    {B: torch.tensor([4.0, 4.0, 4.0]), A: torch.tensor([1.0, 1.0, 1.0])},
    {"model": "m", "shape": SHAPE, "settings": {"pool": "last"}, "method": "language_vectors"},
    pool="last",
)


def values(vector):
    return {site: one.tolist() for site, one in vector.vectors.items()}


def test_what_comes_out():
    assert values(GERMAN + SPANISH) == {A: [2, 3, 4], B: [4, 5, 4]}
    assert values(GERMAN - SPANISH) == {A: [0, 1, 2], B: [-4, -3, -4]}
    assert values(2 * GERMAN) == values(GERMAN * 2.0) == {A: [2, 4, 6], B: [0, 2, 0]}
    assert values(-GERMAN) == values(GERMAN * -1) == {A: [-1, -2, -3], B: [0, -1, 0]}
    assert (GERMAN + SPANISH).label == "deu_Latn + spa_Latn"
    assert (GERMAN - SPANISH).label == "deu_Latn - spa_Latn"
    assert (-2 * GERMAN).label == "deu_Latn"
    assert (GERMAN + SPANISH).pool == "last"
    assert values(GERMAN) == {A: [1, 2, 3], B: [0, 1, 0]}


def test_laws():
    random = LanguageVector("x", {A: torch.randn(3), B: torch.randn(3)}, pool="last")
    left, right = GERMAN + (SPANISH + random), (GERMAN + SPANISH) + random
    for site in (A, B):
        assert torch.allclose(left.vectors[site], right.vectors[site])
        assert torch.allclose((2 * (GERMAN + random)).vectors[site], (2 * GERMAN + 2 * random).vectors[site])
        assert torch.allclose((GERMAN - random).vectors[site], (GERMAN + -random).vectors[site])


def test_what_both_agree_on_is_remembered():
    assert (GERMAN + SPANISH).provenance == {"model": "m", "shape": SHAPE, "settings": {"pool": "last"}}
    assert (3 * GERMAN).provenance == GERMAN.provenance
    by_hand = LanguageVector("x", dict(GERMAN.vectors), pool="last")
    assert (GERMAN - by_hand).provenance == GERMAN.provenance


def test_on_disk(tmp_path):
    (GERMAN - 0.5 * SPANISH).save_pretrained(tmp_path)
    loaded = LanguageVector.from_pretrained(tmp_path)
    assert loaded.label == "deu_Latn - spa_Latn"
    assert values(loaded) == values(GERMAN - 0.5 * SPANISH)


def other(**changes):
    given = {"vectors": dict(GERMAN.vectors), "provenance": {}, "state": "value", "pool": "last"} | changes
    return LanguageVector("fra_Latn", given["vectors"], given["provenance"], given["state"], given["pool"])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: GERMAN + other(vectors={A: torch.ones(3)}),
            ArgumentError,
            r"2.hidden \(3\) is in one of them",
        ),
        (
            lambda: GERMAN + other(vectors={A: torch.ones(3), B: torch.ones(4)}),
            ArgumentError,
            r"2.hidden \(3\), 2.hidden \(4\) is in one of them only",
        ),
        (lambda: GERMAN - other(state="abs"), ArgumentError, "differ in state: value and abs"),
        (lambda: GERMAN - other(pool="mean"), ArgumentError, "differ in pool: last and mean; find both"),
        (
            lambda: GERMAN + other(provenance={"shape": {"width": 4}}),
            ArgumentError,
            "the vectors are of different models",
        ),
        (lambda: GERMAN + 1, ArgumentTypeError, r"\+ something takes a LanguageVector, not int"),
        (lambda: GERMAN - "x", ArgumentTypeError, "takes a LanguageVector, not str"),
        (lambda: GERMAN * SPANISH, ArgumentTypeError, "must be a number"),
        (lambda: GERMAN * float("nan"), ArgumentError, "factor=nan must be finite"),
        (lambda: True * GERMAN, ArgumentTypeError, "factor=True must be a number"),
        (lambda: 1e39 * GERMAN, ArgumentError, "the vector of site 1.hidden is not finite"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
