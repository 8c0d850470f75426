"""Language vectors by aggregator: sides by hand, pairs, another language as the negative side."""

import pytest
import torch

from tests.tiny import make_model, make_tokenizer
from xalign import Site, load_pairs
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.finding.aggregators import AGGREGATORS
from xalign.finding.language_vectors import language_vectors
from xalign.finding.mean_difference import mean_difference

BUNDLED = load_pairs("bundled", n=8)
TEXTS = {
    "eng_Latn": list(BUNDLED["deu_Latn"].pivot_sentences),
    "deu_Latn": list(BUNDLED["deu_Latn"].sentences),
    "rus_Cyrl": list(BUNDLED["rus_Cyrl"].sentences),
}
SITE = Site("hidden", 1)


def last_states():
    """Per label the state of the last token of each sentence, after block 1."""
    model, tokenizer, found = make_model("llama"), make_tokenizer(), {}
    for label, sentences in TEXTS.items():
        rows = []
        for text in sentences:
            ids = torch.tensor([tokenizer(text)["input_ids"]])
            with torch.no_grad():
                rows.append(model(input_ids=ids, output_hidden_states=True).hidden_states[2][0, -1])
        found[label] = torch.stack(rows).double()
    return found


def find(texts=TEXTS, **options):
    return language_vectors(make_model("llama"), make_tokenizer(), texts, "1.hidden", **options)


@pytest.mark.parametrize("aggregate", AGGREGATORS)
def test_against_one_language(aggregate):
    states, found = last_states(), find(aggregate=aggregate, against="eng")
    assert list(found) == ["deu_Latn", "rus_Cyrl"]
    for label, vector in found.items():
        expected = AGGREGATORS[aggregate](states[label], states["eng_Latn"])
        assert torch.allclose(vector.vectors[SITE].double(), expected, atol=1e-4)
        assert (vector.state, vector.pool) == ("value", "last")
        assert vector.provenance["settings"]["against"] == "eng_Latn"


@pytest.mark.parametrize("aggregate", AGGREGATORS)
def test_against_all_others(aggregate):
    states, found = last_states(), find(aggregate=aggregate)
    assert list(found) == list(TEXTS)
    own, others = states["deu_Latn"], torch.cat([states["eng_Latn"], states["rus_Cyrl"]])
    # Pairs where the aggregator takes them: each sentence beside its translation into every other language.
    positive = own.repeat(2, 1) if AGGREGATORS[aggregate].needs_pairs else own
    expected = AGGREGATORS[aggregate](positive, others)
    assert torch.allclose(found["deu_Latn"].vectors[SITE].double(), expected, atol=1e-4)


def test_the_mean_is_the_difference_of_means_where_all_have_as_many_sentences():
    found = find(pool="weighted")
    known = mean_difference(make_model("llama"), make_tokenizer(), TEXTS, "1.hidden")
    for label, vector in known.items():
        assert torch.allclose(found[label].vectors[SITE], vector.vectors[SITE], atol=1e-6)


def test_unpaired_texts():
    texts = TEXTS | {"rus_Cyrl": TEXTS["rus_Cyrl"][:5]}
    for aggregate in ("mean", "logistic", lambda positive, negative: positive.mean(0) - negative[0]):
        assert list(find(texts, aggregate=aggregate)) == list(texts)
    with pytest.raises(
        ArgumentError, match=r"aggregate='pca' takes pairs, .*\(eng_Latn 8, deu_Latn 8, rus_Cyrl 5\)"
    ):
        find(texts, aggregate="pca")
    with pytest.raises(ArgumentError, match="different numbers of sentences"):
        find(texts, paired=True)


def test_all_sites_of_a_kind():
    found = language_vectors(make_model("llama"), make_tokenizer(), TEXTS, "hidden", aggregate="pca")
    assert len(found["deu_Latn"].vectors) == 5
    assert all(abs(vector.norm() - 1) < 1e-5 for vector in found["deu_Latn"].vectors.values())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"against": "fra"}, ArgumentError, "against='fra' must be one of eng_Latn, deu_Latn, rus_Cyrl"),
        ({"against": 3}, ArgumentError, "against=3 must be one of"),
        ({"aggregate": "median"}, ArgumentError, "aggregate='median' must be one of mean"),
        ({"paired": "yes"}, ArgumentTypeError, "paired='yes' must be True or False"),
        ({"share": 0.1}, ArgumentTypeError, "language_vectors has no option 'share'"),
    ],
)
def test_bad_input(options, error, message):
    with pytest.raises(error, match=message):
        find(**options)
