"""Values that rounding puts just outside a metric's bounds are its bounds, wherever they come from."""

from dataclasses import replace

import pytest
import torch

from tests.reports import MISSES, own_metrics, result
from tests.tiny import make_model, make_tokenizer
from xalign import AlignmentReport, Site, load_pairs, measure
from xalign.metrics.metric import Metric


def sums(similarity):
    """Shares that are 1 but for rounding in float32."""
    return similarity.float().softmax(dim=1).sum(dim=1) + 1e-7


def below(similarity):
    return similarity.diagonal().double() * 0 - 1e-12


@pytest.mark.parametrize("compute", [sums, below])
def test_what_is_measured_can_be_shown(tmp_path, compute):
    """A share of 1.0000001 was measured and saved, and then its interval and its rows were refused."""
    pairs = load_pairs("bundled", ["deu_Latn"], n=8)
    metric = Metric(compute.__name__, "Own", "hidden", compute, has_floor=False)
    report = measure(make_model("llama"), make_tokenizer(), pairs, [metric])
    loaded = AlignmentReport.load(report.save(tmp_path))
    for one in (report, loaded):
        values = one.metrics[compute.__name__].values["deu_Latn"]
        assert values.min() >= 0 and values.max() <= 1
        assert one.to_rows()
        assert len(one.interval(compute.__name__, "deu")) == 2
        one.table()
    assert loaded.to_rows() == report.to_rows()


@pytest.mark.parametrize("value", [1 + 1e-12, 1 + 9e-7, -1e-12, -9e-7])
def test_what_an_earlier_version_saved_can_be_shown(tmp_path, value):
    """Files hold such values, and the mean of them."""
    values = torch.full((1, 12), float(round(value)), dtype=torch.float64)
    values[0, 3] = value
    own = result("misses", MISSES, [Site("hidden", 0)], values, values[0], chance=0.5)
    report = replace(own_metrics(step=1), metrics={"misses": own})
    loaded = AlignmentReport.load(report.save(tmp_path))
    assert loaded.metrics["misses"].values["deu_Latn"][0, 3] == round(value)
    assert loaded.metrics["misses"].floors["deu_Latn"][3] == round(value)
    loaded.to_rows(over=("mean", "max"))
    loaded.table()
