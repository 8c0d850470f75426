"""Adapters that were trained apart are added up exactly."""

import copy

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from tests.tiny import make_model
from tests.versions.require import require
from xalign.errors import ArgumentError, ArgumentTypeError, ModelError
from xalign.training.adapters import combine, combine_adapters, search_weights

IDS = torch.arange(5, 29).reshape(2, 12)
TARGETS = ["q_proj", "down_proj"]


def drawn(*shape, seed):
    return torch.tensor(np.random.RandomState(seed).randn(*shape))


def adapted(first=None, second=None, family="llama"):
    """A model in float64 with two adapters whose B is not zero."""
    model = make_model(family).double()
    configs = {"task": {"r": 2, "lora_alpha": 4} | (first or {}), "alignment": {"r": 3} | (second or {})}
    for number, (name, options) in enumerate(configs.items()):
        config = LoraConfig(**({"target_modules": TARGETS} | options))
        model = get_peft_model(model, config, name) if not number else model
        if number:
            model.add_adapter(name, config)
    torch.manual_seed(1)
    for name, one in model.named_parameters():
        if "lora_" in name:
            nn.init.normal_(one, std=0.2)
    return model.eval()


def by_hand(model, weights):
    """The logits of the base with Σ w s B A added to its weights, written down without PEFT."""
    base = make_model("llama").double()
    with torch.no_grad():
        for path, module in model.base_model.model.named_modules():
            if not hasattr(module, "lora_A"):
                continue
            for name, weight in weights.items():
                if name in module.lora_A:
                    config = model.peft_config[name]
                    scale = config.lora_alpha / (config.r**0.5 if config.use_rslora else config.r)
                    product = module.lora_B[name].weight @ module.lora_A[name].weight
                    base.get_submodule(path).weight += weight * scale * product
        return base(IDS).logits


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {}),
        ({"use_rslora": True}, {"use_rslora": True}),
        ({}, {"target_modules": ["gate_proj", "q_proj"]}),
    ],
    ids=["plain", "rank-stabilised", "other modules"],
)
@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.7, 0.3), (1.0, -0.5)])
def test_logits_are_those_of_the_sum_of_changes(first, second, weights):
    model = adapted(first, second)
    given = dict(zip(("task", "alignment"), weights, strict=True))
    combine_adapters(model, given)
    difference = (model(IDS).logits - by_hand(model, given)).abs().max()
    assert difference < 1e-12


def test_the_new_adapter_drops_out_only_while_the_model_trains():
    model, given = adapted({"lora_dropout": 0.5}, {"lora_dropout": 0.5}), {"task": 1.0, "alignment": 0.5}
    combine_adapters(model, given)
    assert (model(IDS).logits - by_hand(model, given)).abs().max() < 1e-12
    found = search_weights(model, list(given), lambda model: model(IDS).logits.sum().item(), grid=[1.0])
    expected = by_hand(model, dict.fromkeys(given, 1.0)).sum().item()
    assert found.score == pytest.approx(expected, rel=1e-9)
    combine_adapters(model.train(), given, "again")
    assert not torch.equal(model(IDS).logits, model(IDS).logits)


def test_where_ranks_are_cut_something_is_lost():
    require("it counts the scale of an adapter twice where it cuts ranks", peft="0.21")
    model, given = adapted(), {"task": 1.0, "alignment": 0.5}
    combine_adapters(model, given, "cut", how="svd")
    assert (model(IDS).logits - by_hand(model, given)).abs().max() > 1e-3


def test_in_float32_they_differ_by_rounding(tmp_path):
    """And a saved combination is an ordinary adapter."""
    model = adapted()
    wanted = by_hand(model, {"task": 0.7, "alignment": 0.3})
    combine_adapters(model, {"task": 0.7, "alignment": 0.3})
    model.save_pretrained(tmp_path, selected_adapters=["combined"])
    loaded = PeftModel.from_pretrained(make_model("llama"), tmp_path / "combined").eval()
    assert (loaded(IDS).logits - wanted).abs().max() < 2e-5


class _OneLinear(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 4, bias=False, dtype=torch.float64)
        self.config = {"tie_word_embeddings": False}

    def forward(self, values):
        return self.linear(values)


def change(how):
    """The change of the weight for the published matrices, with scale 2 and weights .7 and .3."""
    config = LoraConfig(r=2, lora_alpha=4, target_modules=["linear"])
    model = get_peft_model(_OneLinear(), config, "one")
    model.add_adapter("two", config)
    layer = model.base_model.model.linear
    for name, seed in (("one", 80), ("two", 82)):
        layer.lora_B[name].weight.data = drawn(4, 2, seed=seed)
        layer.lora_A[name].weight.data = drawn(2, 3, seed=seed + 1)
    combine_adapters(model, {"one": 0.7, "two": 0.3}, how=how)
    return layer.get_delta_weight("combined")


def test_published_numbers():
    """docs/papers.md: `linear` is far from the weighted sum, `svd` near it."""
    exact = 2 * (
        0.7 * drawn(4, 2, seed=80) @ drawn(2, 3, seed=81) + 0.3 * drawn(4, 2, seed=82) @ drawn(2, 3, seed=83)
    )
    assert (change("sum") - exact).abs().max() < 1e-14
    assert change("sum")[0].tolist() == pytest.approx([-4.221987, -3.466795, -0.138589], abs=1e-6)
    assert change("linear")[0].tolist() == pytest.approx([-1.603596, -6.492005, 2.143543], abs=1e-6)
    for how, error in (("linear", 0.80690), ("svd", 0.10885)):
        if how == "svd":
            require("it counts the scale of an adapter twice where it cuts ranks", peft="0.21")
        assert ((change(how) - exact).norm() / exact.norm()).item() == pytest.approx(error, abs=1e-5)


def test_a_release_that_cuts_wrongly_is_refused(monkeypatch):
    monkeypatch.setattr(combine, "version", lambda package: "0.20.1.dev0")
    with pytest.raises(ArgumentError, match=r"scale of each adapter twice in PEFT 0\.20\.1"):
        change("svd")
    change("sum")


def test_the_best_weights_are_found_and_nothing_is_left_behind():
    model = adapted()
    before = copy.deepcopy(model.state_dict())
    wanted = by_hand(model, {"task": 0.5, "alignment": 1.0})

    def score(one):
        return -(one(IDS).logits - wanted).abs().max().item()

    found = search_weights(model, ["task", "alignment"], score, grid=[1.0, 0.5, 0.3])
    assert found.weights == {"task": 0.5, "alignment": 1.0}
    assert found.score == found.tried[0][1] > -1e-10
    assert len(found.tried) == 9 and found.table().row_count == 9
    assert model.active_adapter == "task" and set(model.peft_config) == {"task", "alignment"}
    assert before.keys() == model.state_dict().keys()


def test_a_score_that_fails_leaves_the_model():
    model = adapted()

    def broken(one):
        raise RuntimeError("no data")

    with pytest.raises(RuntimeError, match="no data"):
        search_weights(model, ["task"], broken)
    assert model.active_adapter == "task" and set(model.peft_config) == {"task", "alignment"}
    with pytest.raises(ArgumentError, match="score=nan must be finite"):
        search_weights(model, ["task"], lambda one: float("nan"))


@pytest.mark.parametrize(
    ("weights", "options", "message"),
    [
        ({}, {}, "weights="),
        ({"task": 1.0, "other": 1.0}, {}, "no adapter other; it has task, alignment"),
        ({"task": float("inf")}, {}, "finite"),
        ({"task": 1.0}, {"name": "alignment"}, "must be a new name"),
        ({"task": 1.0, "alignment": 1.0}, {"how": "linear"}, "their ranks are {'task': 2, 'alignment': 3}"),
        ({"task": 1.0}, {"how": "mean"}, "how='mean' must be one of sum, svd, linear"),
    ],
)
def test_what_cannot_be_combined_is_refused(weights, options, message):
    model = adapted()
    with pytest.raises(ArgumentError, match=message):
        combine_adapters(model, weights, **options)
    assert set(model.peft_config) == {"task", "alignment"}


def test_other_models_and_parts_are_refused():
    with pytest.raises(ArgumentTypeError, match="must be a PeftModel"):
        combine_adapters(make_model("llama"), {"task": 1.0})
    with pytest.raises(ModelError, match="alignment' has DoRA's magnitudes"):
        combine_adapters(adapted({}, {"use_dora": True}), {"task": 1.0, "alignment": 1.0})
    with pytest.raises(ModelError, match="has modules saved whole"):
        combine_adapters(adapted({"modules_to_save": ["lm_head"]}), {"task": 1.0})
    with pytest.raises(ArgumentError, match="grid is empty"):
        search_weights(adapted(), ["task"], lambda one: 1.0, grid=[])
    model = adapted()
    model.peft_config["task"].base_model_name_or_path = "one/base"
    model.peft_config["alignment"].base_model_name_or_path = "another/base"
    with pytest.raises(ModelError, match="different models, another/base, one/base"):
        combine_adapters(model, {"task": 1.0, "alignment": 1.0})
