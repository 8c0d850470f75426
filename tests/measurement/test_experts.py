"""Measuring a mixture of experts: its neurons, its shared networks, and its routing."""

import pytest
import torch

from tests.tiny import make_model, make_tokenizer
from tests.versions.require import require
from xalign import load_pairs, map_model, measure
from xalign.errors import ArgumentError, ModelError
from xalign.measurement.options import ReadOptions
from xalign.measurement.readings import readings_of
from xalign.metrics.routing import routing_overlap, unrelated_overlap
from xalign.model.inputs import Inputs
from xalign.model.read import read_states

PAIRS = load_pairs("bundled", languages=["deu_Latn", "rus_Cyrl"], n=8)


def sites(model, source="neuron_states", **options):
    return [str(one.site) for one in readings_of(map_model(model), source, ReadOptions(**options))]


def test_neuron_metrics_read_the_experts_of_a_mixture():
    model = make_model("qwen2_moe")
    assert sites(model) == ["0.gate", "1.expert_gate", "2.expert_gate"]
    assert sites(model, "neuron_values") == ["0.inner", "1.expert_inner", "2.expert_inner"]
    assert sites(model, state_site="inner") == ["0.inner", "1.expert_inner", "2.expert_inner"]
    assert sites(model, experts="shared") == ["0.gate", "1.gate", "2.gate"]
    assert sites(make_model("llama"), experts="shared") == sites(make_model("llama"))
    report = measure(model, make_tokenizer(), PAIRS, ["nasca", "navca"])
    assert [str(site) for site in report.sites("nasca")] == sites(model)
    other = measure(model, make_tokenizer(), PAIRS, ["nasca"], experts="shared")
    assert other.sites("nasca") != report.sites("nasca")
    assert report.provenance["experts"] == "routed" and other.provenance["experts"] == "shared"


def test_shared_networks_that_are_not_there_are_refused():
    model = make_model("qwen3_moe")
    with pytest.raises(
        ModelError, match="experts='shared': block 0 of qwen3_moe .* without a shared network"
    ):
        measure(model, make_tokenizer(), PAIRS, ["nasca"], experts="shared")
    with pytest.raises(ArgumentError, match="experts='all' must be 'routed' or 'shared'"):
        ReadOptions(experts="all")


def test_experts_that_cannot_be_read_are_not_passed_over():
    require("it does not mark experts that are split over processes", transformers="5.23")
    model = make_model("qwen2_moe")
    for module in model.modules():
        if hasattr(module, "_is_expert_parallel"):
            module._is_expert_parallel = True
    with pytest.raises(ModelError, match="experts of block 1 of qwen2_moe cannot be read.*experts='shared'"):
        measure(model, make_tokenizer(), PAIRS, ["nasca"])
    assert measure(model, make_tokenizer(), PAIRS, ["nasca"], experts="shared").score() >= 0


def brute_overlap(one, other):
    one, other = one.double() / one.sum(), other.double() / other.sum()
    return 1 - float((one - other).abs().sum()) / 2


def test_routing_overlap_is_one_minus_half_the_distance_of_the_shares():
    draw = torch.Generator().manual_seed(0)
    pivot, other = torch.rand(6, 9, generator=draw), torch.rand(6, 9, generator=draw)
    found, null = routing_overlap(pivot, other), unrelated_overlap(pivot, other)
    for i in range(6):
        assert float(found[i]) == pytest.approx(brute_overlap(pivot[i], other[i]))
        others = [brute_overlap(pivot[i], other[j]) for j in range(6) if j != i]
        assert float(null[i]) == pytest.approx(sum(others) / 5)
    assert routing_overlap(pivot, pivot).allclose(torch.ones(6, dtype=torch.float64))
    order = torch.randperm(9, generator=draw)
    assert routing_overlap(pivot[:, order], 3 * other[:, order]).allclose(found)
    assert routing_overlap(other, pivot).allclose(found)
    assert not routing_overlap(torch.eye(3), torch.eye(3).roll(1, 0)).any()
    with pytest.raises(ArgumentError, match="no other sentence"):
        unrelated_overlap(pivot[:1], other[:1])


def test_a_report_shows_routing_beside_what_other_sentences_share(tmp_path):
    model = make_model("qwen2_moe")
    report = measure(model, make_tokenizer(), PAIRS, ["routing"])
    assert [str(site) for site in report.sites("routing")] == ["1.router", "2.router"]
    readings = readings_of(map_model(model), "router")

    def states(code, side):
        inputs = Inputs(model, make_tokenizer())
        return read_states(model, inputs.batches(inputs.encode(side, code).lines), readings)

    for code, bitext in PAIRS.items():
        assert 0 < report.chance("routing", code) < 1 and report.floor("routing", code) is None
        pivot, other = states(PAIRS.pivot, bitext.pivot_sentences), states(code, bitext.sentences)
        wanted = torch.stack([routing_overlap(pivot[one], other[one]).mean() for one in readings]).mean()
        null = torch.stack([unrelated_overlap(pivot[one], other[one]).mean() for one in readings]).mean()
        assert report.score("routing", code) == pytest.approx(float(wanted))
        assert report.chance("routing", code) == pytest.approx(float(null))
    rows = [row for row in report.to_rows() if row["metric"] == "routing"]
    assert all(row["chance"] is not None for row in rows)
    report.save(tmp_path / "report")
    again = type(report).load(tmp_path / "report")
    code = next(iter(PAIRS))
    assert again.chance("routing", code) == report.chance("routing", code)


def test_routing_of_a_model_without_experts_is_refused():
    with pytest.raises(ModelError, match="sites of kind router: it has no mixture of experts.*'routing'"):
        measure(make_model("llama"), make_tokenizer(), PAIRS, ["routing"])
