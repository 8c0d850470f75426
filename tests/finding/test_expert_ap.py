"""Expert units: against average precision by hand, both ends, every way to choose, and refusals."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from tests.tiny import FFN, LAYERS, make_model, make_tokenizer
from xalign import Site, load_pairs
from xalign.errors import ArgumentError, ArgumentTypeError, ModelError
from xalign.finding.activations import activations
from xalign.finding.expert_ap import expert_ap

BUNDLED = load_pairs("bundled", n=12)
TEXTS = {
    "eng_Latn": list(BUNDLED["deu_Latn"].pivot_sentences),
    "deu_Latn": list(BUNDLED["deu_Latn"].sentences),
    "rus_Cyrl": list(BUNDLED["rus_Cyrl"].sentences[:7]),
}


def by_hand(pool, site=1):
    """The neurons of a block, sentence by sentence: what reaches the down projection, pooled."""
    model, tokenizer, kept = make_model("llama"), make_tokenizer(), []
    handle = model.model.layers[site].mlp.down_proj.register_forward_pre_hook(
        lambda _, args: kept.append(args[0])
    )
    with torch.no_grad():
        for sentences in TEXTS.values():
            for text in sentences:
                model(input_ids=torch.tensor([tokenizer(text)["input_ids"]]))
    handle.remove()
    return torch.stack([values[0].amax(0) if pool == "max" else values[0].mean(0) for values in kept])


def find(**options):
    return expert_ap(make_model("llama"), make_tokenizer(), TEXTS, **options)


@pytest.mark.parametrize("pool", ["mean", "max"])
@pytest.mark.parametrize("ends", ["high", "low", "both"])
def test_scores_and_values_are_those_by_hand(pool, ends):
    (site_activations,) = activations(make_model("llama"), make_tokenizer(), TEXTS, "1.inner", pool=pool)
    values = site_activations.values
    assert (values - by_hand(pool)).abs().max() < 1e-5
    units = find(sites=Site("inner", 1), k=FFN, pool=pool, ends=ends)
    start = 0
    for label, sentences in TEXTS.items():
        own = np.zeros(len(values), dtype=bool)
        own[start : start + len(sentences)] = True
        start += len(sentences)
        high = np.array([average_precision_score(own, unit) for unit in values.T.numpy()])
        low = np.array([average_precision_score(own, -unit) for unit in values.T.numpy()])
        expected = {"high": high, "low": low, "both": np.maximum(high, low)}[ends]
        rows = sorted(units[label], key=lambda row: row.index)
        assert [row.score for row in rows] == pytest.approx(expected.tolist(), abs=1e-6)
        median = np.median(values[own].numpy(), axis=0)
        assert [row.value for row in rows] == pytest.approx(median.tolist(), abs=1e-6)
        assert [row.score for row in units[label]] == sorted((row.score for row in rows), reverse=True)


def test_ways_to_choose():
    total = FFN * LAYERS
    assert [len(find(k=7)[label]) for label in TEXTS] == [7] * 3
    assert [len(find(share=0.05)[label]) for label in TEXTS] == [round(0.05 * total)] * 3
    assert len(find()["deu_Latn"]) == round(0.02 * total)
    units = find(threshold=0.7)
    assert min(row.score for row in units) >= 0.7
    everything = find(k=total)
    assert len(units) == sum(row.score >= 0.7 for row in everything)
    assert find(sites="linear", k=3).rows[0].site.kind == "linear"


def test_values_of_the_end_that_tells():
    values = by_hand("mean")
    own = slice(0, len(TEXTS["eng_Latn"]))
    for ends, quantile in (("high", 0.9), ("low", 0.1)):
        for row in find(sites="1.inner", k=5, ends=ends, value="p90")["eng_Latn"]:
            expected = np.quantile(values[own, row.index].numpy(), quantile)
            assert row.value == pytest.approx(expected, abs=1e-6)
    row = find(sites="1.inner", k=1, value="mean")["eng_Latn"].rows[0]
    assert row.value == pytest.approx(values[own, row.index].mean().item(), abs=1e-6)


def test_memory_for_sites_changes_nothing_but_the_runs():
    model, runs = make_model("llama"), []
    model.register_forward_hook(lambda *_: runs.append(1))
    kept = []
    for site_bytes in (1, 2**30):
        runs.clear()
        found = list(activations(model, make_tokenizer(), TEXTS, site_bytes=site_bytes))
        assert [one.site for one in found] == [Site("inner", layer) for layer in range(LAYERS)]
        kept.append((len(runs), torch.cat([one.values for one in found], dim=1)))
    assert kept[0][0] == LAYERS * kept[1][0]
    assert torch.equal(kept[0][1], kept[1][1])
    assert found[0].tokens.sum() == sum(
        len(make_tokenizer()(t)["input_ids"]) for s in TEXTS.values() for t in s
    )


def test_where_they_come_from():
    units = find(k=3, ends="high")
    assert units.provenance["method"] == "expert_ap"
    assert units.provenance["settings"] == {
        "sites": "inner",
        "k": 3,
        "ends": "high",
        "value": "median",
        "pool": "mean",
    }
    assert units.provenance["shape"]["ffn_width"] == FFN
    assert units.provenance["texts"] == {"eng_Latn": 12, "deu_Latn": 12, "rus_Cyrl": 7}


def test_texts_under_two_labels_are_counted():
    texts = {"eng_Latn": ["Berlin", "It rains."], "deu_Latn": ["Berlin", "Es regnet."]}
    with pytest.warns(UserWarning, match=r"1 text\(s\) have several labels"):
        expert_ap(make_model("llama"), make_tokenizer(), texts, k=1)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"share": 0.0}, ArgumentError, "share=0.0 must be above 0"),
        ({"share": 1.5}, ArgumentError, "share=1.5 must be at most 1"),
        ({"share": 1e-6}, ArgumentError, "share=1e-06 chooses no unit of 240 for eng_Latn"),
        ({"threshold": 1.1}, ArgumentError, "threshold=1.1 chooses no unit"),
        ({"k": 0}, ArgumentError, "k=0 must be at least 1"),
        ({"k": 1, "share": 0.1}, ArgumentError, "give one of share, k and threshold, not share and k"),
        ({"ends": "all"}, ArgumentError, "ends='all' must be one of"),
        ({"value": "mode"}, ArgumentError, "value='mode' must be one of"),
        ({"sites": "9.inner"}, ModelError, "blocks 0 to 2"),
        ({"sites": "neurons"}, ArgumentError, "site 'neurons' must look like"),
        ({"sites": []}, ArgumentError, "must name different places"),
        ({"sites": 3}, ArgumentTypeError, "sites=3 must be a kind"),
        ({"pool": "sum"}, ArgumentError, "pool='sum' must be one of"),
        ({"texts": {"eng_Latn": ["a"]}}, ArgumentError, r"texts has 1 label\(s\) \(eng_Latn\)"),
        ({"texts": {"eng_Latn": ["a"], "deu_Latn": []}}, ArgumentError, "at least one sentence"),
        ({"texts": {"eng_Latn": "a", "deu_Latn": ["b"]}}, ArgumentTypeError, "must be a list of sentences"),
        ({"texts": ["a"]}, ArgumentTypeError, "texts must map labels"),
    ],
)
def test_bad_input(options, error, message):
    options = {"texts": TEXTS} | options
    with pytest.raises(error, match=message):
        expert_ap(make_model("llama"), make_tokenizer(), **options)


def test_constant_units_are_counted_and_score_the_prevalence():
    model = make_model("llama")
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[:5] = 0  # these neurons are 0 for every sentence
    with pytest.warns(
        UserWarning, match="15 of the 240 units chosen have the same activation for every sentence"
    ):
        units = expert_ap(model, make_tokenizer(), TEXTS, "1.inner", share=1.0)
    prevalence = {"eng_Latn": 12 / 31, "deu_Latn": 12 / 31, "rus_Cyrl": 7 / 31}
    for row in units:
        if row.index < 5:
            assert row.score == pytest.approx(prevalence[row.label])
            assert row.value == 0


def test_activations_that_are_not_finite():
    model = make_model("llama")
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[3] = torch.nan
    with pytest.raises(ModelError, match="the states at 1.hidden hold NaN or infinity"):
        expert_ap(model, make_tokenizer(), TEXTS)
