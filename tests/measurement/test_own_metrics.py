"""Metrics of a user's own, measured: objects and functions, bounded or not, of similarities or of states."""

import pytest
import torch

from tests.tiny import make_model
from xalign import AlignmentReport, load_pairs, measure
from xalign.errors import ArgumentError, ModelError
from xalign.measurement import Measurement
from xalign.metrics.cosine import cosine_matrix
from xalign.metrics.metric import Metric
from xalign.model.architectures.map import map_model
from xalign.model.architectures.sites import Reading
from xalign.model.inputs import Inputs, TextOptions
from xalign.model.read import read_states
from xalign.results.history import History

N = 12


def distance(pivot, other):
    return (pivot.double() - other.double()).norm(dim=1)


def diagonal(similarity):
    return similarity.diagonal()


DISTANCE = Metric(
    "distance",
    "Distance",
    "hidden",
    distance,
    over="states",
    bounds=None,
    has_floor=False,
    unit="norm",
    higher_is_better=False,
)
LOGIT = Metric(
    "logit",
    "Scaled cosine",
    "neuron_values",
    lambda similarity: 20 * similarity.diagonal(),
    bounds=None,
    chance=lambda n: 1 / n,
)


@pytest.fixture(scope="module")
def model():
    return make_model("llama")


@pytest.fixture(scope="module")
def pairs():
    return load_pairs("bundled", ["deu_Latn", "rus_Cyrl"], n=N)


@pytest.fixture(scope="module")
def report(model, tokenizer, pairs):
    return measure(model, tokenizer, pairs, ["nasca", DISTANCE, LOGIT, diagonal], step=3)


def states_of(model, tokenizer, sentences, language, site):
    """What a metric of states is given at one layer, read on its own."""
    inputs, reading = Inputs(model, tokenizer), Reading(site, "value", "weighted")
    encoded = inputs.encode(sentences, language, TextOptions(), [str(row) for row in range(len(sentences))])
    return read_states(model, inputs.batches(encoded.lines, token_budget=512), [reading])[reading]


def test_a_metric_of_states(report, model, tokenizer, pairs):
    assert report.metrics["distance"].layers == ("embed", 0, 1, "final")
    bitext = pairs["rus_Cyrl"]
    for site in report.sites("distance"):
        assert site in map_model(model).sites("hidden")
        expected = distance(
            states_of(model, tokenizer, bitext.pivot_sentences, "eng_Latn", site),
            states_of(model, tokenizer, bitext.sentences, "rus_Cyrl", site),
        )
        given = report.per_sentence("distance", "rus_Cyrl", site)
        assert torch.allclose(given, expected, rtol=1e-5)
        assert given.std() > 0
    assert report.scale("distance") == DISTANCE.scale
    assert report.floor("distance") is None and report.chance("distance", "deu_Latn") is None


def test_an_unbounded_metric_of_similarities(report, model, tokenizer, pairs):
    assert report.metrics["logit"].readings == tuple(f"{layer}.inner:abs:weighted" for layer in range(3))
    assert report.chance("logit", "deu_Latn") == 1 / N
    assert 0 < report.floor("logit", "deu_Latn") < 20
    assert report.score("logit") > 1  # no share
    low, high = report.interval("logit", "deu_Latn")
    assert low < report.score("logit", "deu_Latn") < high


def test_a_plain_function(report, model, tokenizer, pairs):
    site = report.sites("diagonal")[1]
    bitext = pairs["deu_Latn"]
    similarity = cosine_matrix(
        states_of(model, tokenizer, bitext.pivot_sentences, "eng_Latn", site),
        states_of(model, tokenizer, bitext.sentences, "deu_Latn", site),
    )
    assert torch.allclose(report.per_sentence("diagonal", "deu_Latn", site), similarity.diagonal(), atol=1e-6)
    assert report.scale("diagonal").title == "Diagonal" and report.scale("diagonal").bounds is None
    assert report.measured == ["nasca", "distance", "logit", "diagonal"]


def test_others_are_not_disturbed(report, model, tokenizer, pairs):
    alone = measure(model, tokenizer, pairs, ["nasca"], step=3)
    assert [row for row in report.to_rows() if row["metric"] == "nasca"] == alone.to_rows()


def test_saved_loaded_compared_and_continued(report, tmp_path):
    again = AlignmentReport.load(report.save(tmp_path / "report"))
    assert again.to_rows(("mean", "max")) == report.to_rows(("mean", "max"))
    assert [again.scale(metric) for metric in again.measured] == [
        report.scale(one) for one in report.measured
    ]
    assert {row["metric"] for row in again.compare(report)} == set(report.metrics)
    history = History(tmp_path / "history.jsonl")
    history.append(report)
    assert History.load(tmp_path).to_rows() == report.to_rows()


def test_integers_become_real_values(model, tokenizer, pairs):
    def rank(similarity):
        return (similarity > similarity.diagonal()[:, None]).sum(1)

    report = measure(model, tokenizer, pairs, [rank])
    values = report.per_sentence("rank", "deu_Latn", "final")
    assert values.dtype == torch.float64 and values.min() >= 0 and values.max() < N


def test_views_of_one_tensor_are_saved(model, tokenizer, pairs, tmp_path):
    """The floors of both are the same memory, which safetensors refuses."""

    def first_row(similarity):
        return similarity[0]

    metrics = [Metric(name, name, "hidden", first_row, bounds=None) for name in ("one", "other")]
    report = measure(model, tokenizer, pairs, metrics)
    again = AlignmentReport.load(report.save(tmp_path / "report"))
    assert again.to_rows() == report.to_rows()


@pytest.mark.parametrize(
    ("values", "shape"),
    [
        (lambda c: c.diagonal().mean(), r"\(8\).* of shape \(\)".replace("8", str(N))),
        (lambda c: c, rf"of shape \({N}, {N}\)"),
        (lambda c: c.diagonal()[1:], rf"of shape \({N - 1},\)"),
        (lambda c: c.diagonal().tolist(), "not list"),
        (lambda c: None, "not NoneType"),
    ],
)
def test_a_function_must_give_a_value_per_pair(model, tokenizer, pairs, values, shape):
    own = Metric("own", "Own", "hidden", values, bounds=None, has_floor=False)
    with pytest.raises(ArgumentError, match=rf"metric 'own' must give .*one (real )?value per pair.*{shape}"):
        measure(model, tokenizer, pairs, [own])


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_is_no_number_is_refused(model, tokenizer, pairs, number):
    def broken(similarity):
        values = similarity.diagonal().clone()
        values[-1] = number
        return values

    with pytest.raises(
        ModelError, match=r"broken gave values at embed.hidden:value:weighted of deu_Latn that are"
    ):
        measure(model, tokenizer, pairs, [broken])


def test_bad_metrics_are_refused_before_anything_runs(tokenizer, pairs):
    with pytest.raises(ArgumentError, match="has no name to be reported under"):
        Measurement(None, tokenizer, pairs, [lambda similarity: similarity.diagonal()])
