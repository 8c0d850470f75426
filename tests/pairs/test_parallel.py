import copy
import json
import pickle

import numpy as np
import pytest
from datasets import Dataset

from xalign import ParallelPairs
from xalign.errors import ArgumentError, ArgumentTypeError, PairsError

ENGLISH = ["Good morning.", "It rains.", "Where is he?", "Nobody knows.", "Two cats sleep."]
GERMAN = ["Guten Morgen.", "Es regnet.", "Wo ist er?", "Niemand weiß es.", "Zwei Katzen schlafen."]
SPANISH = ["Buenos días.", "Llueve.", "¿Dónde está?", "Nadie lo sabe.", "Dos gatos duermen."]


def multiway(**more):
    return ParallelPairs({"en": ENGLISH, "de": GERMAN, "es": SPANISH}, **more)


def separate():
    return ParallelPairs.from_bitexts({"de": (ENGLISH, GERMAN), "es": (ENGLISH[1:4], SPANISH[1:4])})


def test_multiway():
    pairs = multiway()
    assert pairs.languages == ["deu_Latn", "spa_Latn"]
    assert pairs.is_multiway
    assert pairs.counts == {"deu_Latn": 5, "spa_Latn": 5}
    assert pairs["de"] is pairs["deu_Latn"]
    assert pairs["deu_Latn"].sentences[3] == "Niemand weiß es."
    assert pairs["deu_Latn"].pivot_sentences[3] == "Nobody knows."
    assert "eng_Latn" not in pairs
    assert repr(pairs) == "ParallelPairs(eng_Latn with deu_Latn, spa_Latn; 5 pairs each)"


def test_bitexts_of_different_length():
    pairs = separate()
    assert not pairs.is_multiway
    assert pairs.counts == {"deu_Latn": 5, "spa_Latn": 3}
    assert "3 to 5 pairs" in repr(pairs)


def test_another_pivot():
    pairs = ParallelPairs({"en": ENGLISH, "de": GERMAN}, pivot="de")
    assert (pairs.pivot, pairs.languages) == ("deu_Latn", ["eng_Latn"])


@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        (
            {"en": ENGLISH, "de": GERMAN[:4]},
            PairsError,
            "deu_Latn has 4 sentences and its pivot eng_Latn has 5",
        ),
        (
            {"en": ENGLISH, "de": [*GERMAN[:2], " ", *GERMAN[3:]]},
            PairsError,
            r"deu_Latn has 1 empty line\(s\), the first at line 3",
        ),
        ({"en": [*ENGLISH[:4], ""], "de": GERMAN}, PairsError, "eng_Latn has 1 empty"),
        ({"en": ENGLISH[:1], "de": GERMAN[:1]}, PairsError, r"1 pair\(s\); at least 2"),
        ({"en": [], "de": []}, PairsError, "at least 2"),
        ({"en": ENGLISH}, PairsError, "only the pivot eng_Latn is given"),
        ({"de": GERMAN, "es": SPANISH}, ArgumentError, "pivot='eng_Latn' is not among"),
        ({}, ArgumentError, "not among the languages given: none"),
        ({"en": ENGLISH, "de": "Guten Morgen."}, ArgumentTypeError, "de must be a list of strings"),
        ({"en": ENGLISH, "de": [1, 2, 3, 4, 5]}, ArgumentTypeError, "de: entry 0 must be a string, not 1"),
        ({"en": ENGLISH, "de": None}, ArgumentTypeError, "must be a list of strings"),
        ({"en": ENGLISH, "xx": GERMAN}, ArgumentError, "'xx' is unknown"),
        ({"en": ENGLISH, "zh": GERMAN}, ArgumentError, "'zh' is ambiguous"),
        ({"en": ENGLISH, "de": GERMAN, "deu": GERMAN}, ArgumentError, "deu_Latn more than once"),
        ([ENGLISH, GERMAN], ArgumentTypeError, "must map language codes"),
    ],
)
def test_refusals(texts, error, message):
    with pytest.raises(error, match=message):
        ParallelPairs(texts)


@pytest.mark.parametrize(
    ("bitexts", "error", "message"),
    [
        ({"de": (ENGLISH, GERMAN[:3])}, PairsError, "has 3 sentences and its pivot"),
        ({"de": ENGLISH}, ArgumentTypeError, "must be \\(pivot sentences, sentences\\)"),
        ({"de": "ab"}, ArgumentTypeError, "must be \\(pivot sentences, sentences\\)"),
        ({}, PairsError, "only the pivot"),
        ({"en": (ENGLISH, ENGLISH)}, ArgumentError, "compared with itself"),
    ],
)
def test_refusals_of_bitexts(bitexts, error, message):
    with pytest.raises(error, match=message):
        ParallelPairs.from_bitexts(bitexts)


def test_ids_and_documents_must_fit():
    with pytest.raises(PairsError, match="ids has 1 entries for 5 pairs"):
        multiway(ids=["a"])
    with pytest.raises(PairsError, match="documents has 2 entries"):
        multiway(documents=["a", "b"])


def test_duplicates_are_counted_and_warned_about_once():
    texts = {"en": [*ENGLISH, "It rains."], "de": [*GERMAN, "Es regnet."], "es": [*SPANISH, "Llueve hoy."]}
    with pytest.warns(UserWarning, match="repeated sentences \\(eng_Latn 1, deu_Latn 1\\)") as caught:
        pairs = ParallelPairs(texts)
    assert len(caught) == 1
    assert pairs.duplicates == {"eng_Latn": 1, "deu_Latn": 1}
    # What is made from them is not warned about again: a warning would be an error here.
    assert pairs.first(6).duplicates == pairs.duplicates
    clean = pairs.without_duplicates()
    assert clean.duplicates == {}
    assert clean.counts == {"deu_Latn": 5, "spa_Latn": 5}
    assert clean.is_multiway
    assert pairs["spa_Latn"].sentences[5] == "Llueve hoy."
    assert clean["spa_Latn"].sentences == tuple(SPANISH)


def test_subsets():
    pairs = multiway()
    assert pairs.only(["es"]).languages == ["spa_Latn"]
    assert pairs.only(["spa_Latn", "eng_Latn"]).languages == ["spa_Latn"]
    assert pairs.first(2)["de"].sentences == tuple(GERMAN[:2])
    drawn = pairs.sample(3, seed=1)
    assert drawn.is_multiway
    assert drawn["de"].ids == drawn["es"].ids
    assert drawn.fingerprint == pairs.sample(3, seed=1).fingerprint
    assert len({pairs.sample(3, seed=seed).fingerprint for seed in range(10)}) > 3
    for ask, message in (
        (lambda: pairs.only(["ru"]), "languages=rus_Cyrl not among"),
        (lambda: pairs.only("de"), "must be a list"),
        (lambda: pairs.only([]), "only the pivot"),
        (lambda: pairs.first(6), "n=6 must lie between 2 and the pairs there are: deu_Latn has 5"),
        (lambda: pairs.first(1), "n=1 must lie"),
        (lambda: pairs.first(2.0), "whole number"),
        (lambda: pairs.sample(True, 0), "whole number"),
    ):
        with pytest.raises((ArgumentError, ArgumentTypeError, PairsError), match=message):
            ask()
    with pytest.raises(KeyError, match="rus_Cyrl is not among"):
        pairs["ru"]


def test_shuffled_pairs_nothing_with_its_translation():
    pairs = multiway()
    mispaired = pairs.shuffled(seed=0)
    assert sorted(mispaired["de"].sentences) == sorted(GERMAN)
    assert all(shuffled != true for shuffled, true in zip(mispaired["de"].sentences, GERMAN, strict=True))
    assert mispaired["de"].pivot_sentences == tuple(ENGLISH)
    assert "shuffled with seed 0" in mispaired.source


def test_split_keeps_documents_together():
    n = 60
    texts = {"en": [f"english {i}" for i in range(n)], "de": [f"deutsch {i}" for i in range(n)]}
    pairs = ParallelPairs(texts, documents=[f"document {i // 7}" for i in range(n)])
    for seed in range(5):
        first, second = pairs.split(0.5, seed)
        assert not set(first["de"].documents) & set(second["de"].documents)
        assert first.counts["deu_Latn"] + second.counts["deu_Latn"] == n
        assert abs(first.counts["deu_Latn"] - n / 2) <= 3.5  # half a document
        assert not first.overlap(second)
    with pytest.raises(ArgumentError, match="share=1 must lie strictly between"):
        pairs.split(1, 0)
    with pytest.raises(PairsError, match="at least 2"):
        pairs.split(0.01, 0)


def test_split_of_separate_bitexts_keeps_pivot_sentences_together():
    english = [f"english {i}" for i in range(30)]
    pairs = ParallelPairs.from_bitexts(
        {
            "de": (english, [f"deutsch {i}" for i in range(30)]),
            "es": (english[:20], [f"texto {i}" for i in range(20)]),
        }
    )
    first, second = pairs.split(0.6, seed=2)
    pivots = [
        {text for bitext in part.values() for text in bitext.pivot_sentences} for part in (first, second)
    ]
    assert min(map(len, pivots)) > 5
    assert not pivots[0] & pivots[1]


def test_arguments_of_the_wrong_type():
    pairs = multiway()
    for call, message in (
        (lambda: pairs.split("half", seed=0), "share='half' must be a number"),
        (lambda: pairs.sample(3, seed=[1]), r"seed=\[1\] must be a whole number"),
        (lambda: pairs.overlap(None), "other must be ParallelPairs"),
        (lambda: ParallelPairs.from_bitexts(None), "or hold Bitext objects, not None"),
        (lambda: ParallelPairs.from_bitexts([("a", "b")]), "or hold Bitext objects"),
    ):
        with pytest.raises(ArgumentTypeError, match=message):
            call()
    with pytest.raises(PairsError, match="half a surrogate pair"):
        ParallelPairs({"en": ["a", "b"], "de": ["c", "\ud800"]})


def test_fingerprint():
    pairs = multiway()
    assert pairs.fingerprint == multiway().fingerprint
    assert pairs.fingerprint == pairs.only(["es", "de"]).fingerprint != pairs.only(["de"]).fingerprint
    others = [
        ParallelPairs({"en": ENGLISH, "de": [*GERMAN[:4], "Zwei Katzen schlafen!"], "es": SPANISH}),
        pairs.only(["de"]),
        pairs.first(4),
        ParallelPairs({"en": ENGLISH, "de": SPANISH, "es": GERMAN}),
        separate(),
    ]
    assert len({other.fingerprint for other in others} | {pairs.fingerprint}) == 6


def test_overlap_is_by_sentence_after_normalisation():
    decomposed = "Niemand weiß es.".replace("ß", "ß"), "Buenos di\u0301as."
    other = ParallelPairs(
        {"en": ["Nobody knows.", "New."], "es": [decomposed[1], "Nuevo."], "fr": ["a", "b"]}
    )
    assert multiway().overlap(other) == {"eng_Latn": ["Nobody knows."], "spa_Latn": ["Buenos días."]}
    assert multiway().overlap(ParallelPairs({"en": ["x", "y"], "de": ["u", "v"]})) == {}


@pytest.mark.parametrize("make", [lambda: multiway(documents=list("aabbc"), ids=list("vwxyz")), separate])
def test_saved_and_read_back(make):
    pairs = make()
    again = ParallelPairs.from_dict(json.loads(json.dumps(pairs.to_dict())))
    for language in pairs:
        assert again[language] == pairs[language]
    assert again.fingerprint == pairs.fingerprint
    assert pickle.loads(pickle.dumps(pairs)).fingerprint == pairs.fingerprint
    assert copy.deepcopy(pairs).fingerprint == pairs.fingerprint


def test_columns_are_lists():
    column = Dataset.from_dict({"de": ["Guten Morgen.", "Es regnet."]})["de"]
    for side in (column, np.array(["Guten Morgen.", "Es regnet."]), ("Guten Morgen.", "Es regnet.")):
        pairs = ParallelPairs({"en": ["Good morning.", "It rains."], "de": side})
        assert pairs["deu_Latn"].sentences == ("Guten Morgen.", "Es regnet.")
