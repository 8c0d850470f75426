"""Minimal pairs by layer: scikit-learn's probes fold by fold, preferences, controls, what is refused."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.preprocessing import StandardScaler

from tests.tiny import make_model, make_tokenizer
from xalign import ParallelItems, load_items
from xalign.errors import ArgumentError, PairsError
from xalign.pairs.item import Choice, MinimalPair
from xalign.probing import MinimalPairs, probe_minimal_pairs
from xalign.probing.pair_probe import apply_probe, pair_probe, shuffled_sides

NOUNS = ("dog", "cat", "baker", "moon", "train", "queen", "nurse", "river", "clock", "child", "wolf")
PAIRS = [MinimalPair(f"the {noun} sleeps", f"the {noun} sleep", "agreement") for noun in NOUNS]
GERMAN = [MinimalPair(f"wir {noun} und schlafen", f"wir {noun} und schläft") for noun in NOUNS]
ITEMS = ParallelItems({"eng_Latn": PAIRS, "deu_Latn": GERMAN}, is_aligned=False)


def drawn(n=40, width=6, shift=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    good = torch.randn(n, width, generator=generator)
    bad = good + 0.3 * torch.randn(n, width, generator=generator)
    bad[:, 2] += shift
    return good, bad


def theirs(train, test):
    scaler = StandardScaler().fit(torch.cat(train))
    probe = LogisticRegression(C=1.0, tol=1e-10, max_iter=5000)
    probe.fit(scaler.transform(torch.cat(train)), [1] * len(train[0]) + [0] * len(train[1]))
    called = probe.predict(scaler.transform(torch.cat(test)))
    return called[: len(test[0])] == 1, called[len(test[0]) :] == 0


@pytest.mark.parametrize("width", [6, 90], ids=["narrow", "wider than many"])
def test_it_is_that_of_scikit_learn_fold_by_fold(width):
    good, bad = drawn(width=width, shift=0.7)
    found = pair_probe(good, bad)
    assert 0.55 < found.accuracy < 1
    for fold in range(5):
        held = torch.arange(40) % 5 == fold
        one, two = theirs((good[~held], bad[~held]), (good[held], bad[held]))
        assert found.good[held].tolist() == one.tolist() and found.bad[held].tolist() == two.tolist()
    called = torch.cat([found.good, ~found.bad]).int()
    assert found.f1 == pytest.approx(f1_score([1] * 40 + [0] * 40, called))
    assert found.accuracy == pytest.approx(float(torch.cat([found.good, found.bad]).double().mean()))


def test_a_pair_is_never_in_both_halves():
    """Pairs that are all alike but for a name of their own: a probe that saw a partner would know them."""
    own = 10 * torch.eye(20)
    good, bad = own, own.clone()
    assert pair_probe(good, bad).accuracy == 0.5


def test_pairs_that_exchanged_words_are_in_one_fold():
    """Words that are good in one pair and bad in another: split, a probe of words is always wrong."""
    words = 10 * torch.eye(20)
    good, bad = words, words.view(10, 2, 20).flip(1).reshape(20, 20)  # pairs 2k and 2k + 1 exchange theirs
    assert pair_probe(good, bad).accuracy == 0
    groups = [str(number // 2) for number in range(20)]
    assert pair_probe(good, bad, groups=groups).accuracy == 0.5
    fold = torch.arange(20) // 2 % 5
    states, others = drawn(20, shift=0.7)
    found = pair_probe(states, others, groups=groups)
    for number in range(5):
        held = fold == number
        one, two = theirs((states[~held], others[~held]), (states[held], others[held]))
        assert found.good[held].tolist() == one.tolist() and found.bad[held].tolist() == two.tolist()
    with pytest.raises(ArgumentError, match=r"in 2 group\(s\); .* at least 5 groups"):
        pair_probe(good, bad, groups=["a"] * 10 + ["b"] * 10)


def test_what_leaves_it_as_it_is():
    good, bad = drawn()
    whole = pair_probe(good, bad)
    units = torch.randperm(6)
    for one, two in ((good[:, units], bad[:, units]), (3 * good - 1, 3 * bad - 1)):
        assert torch.equal(pair_probe(one, two).per_pair, whole.per_pair)
    mirrored = pair_probe(bad, good)
    assert torch.equal(mirrored.good, whole.bad) and torch.equal(mirrored.bad, whole.good)


def test_the_control_is_at_chance_however_easy_the_pairs():
    """Mean of 20 draws of 100 pairs, within .05."""
    good, bad = drawn(100, shift=30.0)
    assert pair_probe(good, bad).accuracy == 1
    control = [pair_probe(*shuffled_sides(good, bad, seed)).accuracy for seed in range(20)]
    assert np.mean(control) == pytest.approx(0.5, abs=0.05)
    one, two = shuffled_sides(good, bad, seed=3)
    swapped = (one != good).any(dim=1)
    assert 20 < int(swapped.sum()) < 80
    assert torch.equal(torch.where(swapped[:, None], two, one), good)


def test_transfer_is_to_pairs_of_which_none_was_seen():
    train, test = drawn(30, seed=1), drawn(20, seed=2)
    one, two = theirs(train, test)
    found = apply_probe(train, test)
    assert found[0].tolist() == one.tolist() and found[1].tolist() == two.tolist()


def test_the_edges():
    same = torch.ones(6, 3)
    assert pair_probe(same, same, folds=2).accuracy == 0.5
    assert pair_probe(same, same, folds=2).f1 in (0.0, pytest.approx(2 / 3))
    with pytest.raises(ArgumentError, match="there are 3 good and 3 bad sentences.* at least 5 groups"):
        pair_probe(same[:3], same[:3])
    with pytest.raises(ArgumentError, match="6 good and 5 bad"):
        pair_probe(same, same[:5])


@pytest.fixture(scope="module")
def model():
    return make_model("llama")


@pytest.fixture(scope="module")
def found(model):
    return probe_minimal_pairs(model, make_tokenizer(), ITEMS, transfer=True, draws=2)


def states(model, texts):
    rows = []
    for text in texts:
        with torch.no_grad():
            out = model(**make_tokenizer()(text, return_tensors="pt"), output_hidden_states=True)
        rows.append(torch.stack([one[0, -1] for one in out.hidden_states]))
    return torch.stack(rows)


def test_a_layer_is_probed_at_the_last_token(model, found):
    """Layers of transformers: the embedding, each block but the last, and the normalised last one."""
    sides = {
        code: (states(model, [one.good for one in own]), states(model, [one.bad for one in own]))
        for code, own in ITEMS.items()
    }
    for at, layer in enumerate(("embed", "0", "1", "final")):
        for code, (good, bad) in sides.items():
            (row,) = found.where(language=code, trained_on=code, layer=layer)
            own = pair_probe(good[:, at], bad[:, at])
            assert row["accuracy"] == pytest.approx(own.accuracy)
            assert row["f1"] == pytest.approx(own.f1)
            coins = [shuffled_sides(good[:, at], bad[:, at], seed) for seed in (0, 1)]
            control = np.mean([pair_probe(*one).accuracy for one in coins])
            assert row["control"] == pytest.approx(control)
            assert row["selectivity"] == pytest.approx(row["accuracy"] - control)
            assert row["low"] <= row["accuracy"] <= row["high"] and row["pairs"] == 11
        (row,) = found.where(language="deu_Latn", trained_on="eng_Latn", layer=layer)
        good, bad = sides["eng_Latn"]
        judged = apply_probe(
            (good[:, at], bad[:, at]), (sides["deu_Latn"][0][:, at], sides["deu_Latn"][1][:, at])
        )
        assert row["accuracy"] == pytest.approx(float(judged.double().mean()))
    assert len(found.rows) == 4 * 5  # two languages, judged and trained on, at five layers


def test_states_can_be_pooled_over_the_sentence(model):
    found = probe_minimal_pairs(model, make_tokenizer(), ITEMS, pool="mean")
    sides = []
    for texts in ([one.good for one in PAIRS], [one.bad for one in PAIRS]):
        with torch.no_grad():
            runs = [
                model(**make_tokenizer()(text, return_tensors="pt"), output_hidden_states=True)
                for text in texts
            ]
        sides.append(torch.stack([run.hidden_states[2][0].mean(dim=0) for run in runs]))
    (row,) = found.where(language="eng_Latn", layer="1")
    assert row["accuracy"] == pytest.approx(pair_probe(*sides).accuracy)


def test_performance_is_the_share_of_likelier_good_sentences(model, found):
    def likelihood(text):
        ids = make_tokenizer()(text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            predicted = model(ids).logits[0, :-1].log_softmax(dim=-1)
        return float(predicted.gather(1, ids[0, 1:, None]).sum())

    for code, own in ITEMS.items():
        share = np.mean([likelihood(one.good) > likelihood(one.bad) for one in own])
        assert [row["performance"] for row in found.where(language=code)] == pytest.approx([share] * 10)
    encoder = probe_minimal_pairs(make_model("bert"), make_tokenizer(), ITEMS)
    assert {row["performance"] for row in encoder.rows} == {None}


def test_saturation_is_the_first_layer_with_95_percent_of_the_peak():
    def row(layer, accuracy):
        own = {"task": "form", "language": "eng_Latn", "trained_on": "eng_Latn", "layer": layer}
        own |= {"accuracy": accuracy, "low": 0.0, "high": 1.0, "f1": accuracy, "control": 0.5}
        return own | {"selectivity": accuracy - 0.5, "performance": 0.9, "pairs": 10}

    peaks = {"embed": 0.5, "0": 0.759, "1": 0.761, "2": 0.8, "3": 0.8, "final": 0.7}
    (summary,) = MinimalPairs([row(*one) for one in peaks.items()]).summary()
    assert (summary["maximum"], summary["saturation"], summary["competence"]) == ("2", "1", 0.8)  # .76


def test_tasks_stand_side_by_side(model, tmp_path):
    items = {"form": ITEMS.first(6), "meaning": ITEMS}
    found = probe_minimal_pairs(model, make_tokenizer(), items)
    assert [one["task"] for one in found.summary()] == ["form", "form", "meaning", "meaning"]
    assert {row["pairs"] for row in found.where(task="form")} == {6}
    assert MinimalPairs.load(found.save(tmp_path / "pairs.json")).rows == found.rows
    small = probe_minimal_pairs(model, make_tokenizer(), items, site_bytes=1)
    assert small.rows == found.rows
    assert len(found.table().rows) == len(found.rows)


@pytest.mark.parametrize(
    ("items", "match"),
    [
        (ParallelItems({"en": [Choice("a", ("b", "c"))] * 5}), "are choices; only minimal pairs"),
        (ITEMS.first(4), "are 4; folds=5 need as many pairs"),
        ({"form": PAIRS}, "'form' are list; only minimal pairs"),
    ],
)
def test_what_are_no_minimal_pairs(model, items, match):
    with pytest.raises(PairsError, match=match):
        probe_minimal_pairs(model, make_tokenizer(), items)


def test_no_items_and_unknown_options(model):
    with pytest.raises(ArgumentError, match="items must be ParallelItems, or map"):
        probe_minimal_pairs(model, make_tokenizer(), {})
    with pytest.raises(TypeError, match="sites"):
        probe_minimal_pairs(model, make_tokenizer(), ITEMS, sites="inner")


@pytest.mark.realdata
def test_clams_is_read_and_probed(real_text, model):
    items = load_items(real_text / "clams", ["de"]).sample(30, seed=0)
    found = probe_minimal_pairs(model, make_tokenizer(), items)
    assert {row["language"] for row in found.rows} == {"eng_Latn", "deu_Latn"}
    assert {row["pairs"] for row in found.rows} == {30}
