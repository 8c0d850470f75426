"""Units and vectors say in which weights they were found, and steering other weights of that shape warns."""

import copy
import warnings

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from tests.tiny import make_model, make_tokenizer
from xalign import LanguageVector, Site, UnitSet, find_units, load_pairs, map_model, measure, steer
from xalign.finding import language_means, mean_difference
from xalign.units.weights import digest_of_weights

PAIRS = load_pairs("bundled", languages=["deu_Latn"], n=6)
TEXTS = PAIRS.texts
OTHER = "has other weights than this model, llama"


def digest(model):
    return digest_of_weights(map_model(model))


def steered(model, what):
    with steer(model, what, strength=1.5):
        model(input_ids=torch.tensor([[1, 20, 30]]))


@pytest.mark.parametrize("find", ["units", "vector"])
def test_steering_another_model_of_the_shape_warns(find, tmp_path):
    """Units of one model were written into another of the same shape without a word."""
    model, tokenizer = make_model("llama", seed=1), make_tokenizer()
    model.config._name_or_path = "first"
    if find == "units":
        find_units(model, tokenizer, TEXTS, k=3)["deu_Latn"].save_pretrained(tmp_path)
        what = UnitSet.from_pretrained(tmp_path)
    else:
        mean_difference(model, tokenizer, TEXTS)["deu_Latn"].save_pretrained(tmp_path)
        what = LanguageVector.from_pretrained(tmp_path)
    steered(model, what)
    steered(copy.deepcopy(model), what)
    other = make_model("llama", seed=2)
    with pytest.warns(UserWarning, match=f"found in first, which {OTHER}"):
        steered(other, what)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        for _ in range(3):
            steered(other, what)
    assert len(seen) == 1


def test_subtracting_what_belongs_to_other_weights_warns():
    """Means of one model were subtracted from states of another of the same shape."""
    means = language_means(make_model("llama", seed=1), make_tokenizer(), TEXTS, ["mexa"])
    measure(make_model("llama", seed=1), make_tokenizer(), PAIRS, ["mexa"], subtract=means)
    with pytest.warns(UserWarning, match=OTHER):
        measure(make_model("llama", seed=2), make_tokenizer(), PAIRS, ["mexa"], subtract=means)


def test_units_by_hand_and_old_files_warn_of_nothing():
    """Files of 0.1.0 have no digest, and neither have units made by hand."""
    for provenance in ({}, {"weights": None}, {"model": "first", "method": "lape"}):
        steered(
            make_model("llama", seed=2), UnitSet.from_rows([("deu_Latn", "1.inner", 7, 0.9, 2.5)], provenance)
        )
    vector = LanguageVector("deu_Latn", {Site("hidden", 1): torch.ones(32)})
    steered(make_model("llama", seed=2), vector)


@pytest.mark.thorough
@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom", "bert"])
def test_what_changes_the_digest(family):
    """There was no digest."""
    before = digest(make_model(family))
    assert before == digest(make_model(family)) == digest(make_model(family).bfloat16())
    assert before != digest(make_model(family, seed=1))
    assert before == digest(torch.compile(make_model(family), backend="eager"))
    trained = make_model(family)
    optimizer = torch.optim.AdamW(trained.parameters(), lr=1e-4)
    for _ in range(20):
        output = trained(input_ids=torch.tensor([[1, 20, 30, 40]]))[0]
        output.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert before != digest(trained)
    for name, parameter in map_model(make_model(family)).blocks[1].named_parameters():
        changed = make_model(family)
        with torch.no_grad():
            dict(map_model(changed).blocks[1].named_parameters())[name].add_(0.01)
        assert digest(changed) != before, (name, parameter.shape)


def test_an_adapter_beside_the_weights_is_not_in_them():
    """A LoRA model has the coordinates of its base; merged, it has weights of its own."""
    before = digest(make_model("llama"))
    config = LoraConfig(
        r=2,
        target_modules=["q_proj", "down_proj"],
        init_lora_weights=False,
        modules_to_save=["input_layernorm"],
    )
    model = get_peft_model(make_model("llama"), config)
    assert digest(model) == before
    assert digest(model.merge_and_unload()) != before


@pytest.mark.parametrize("what", ["meta", "quantised", "split"])
def test_weights_that_cannot_be_read_have_no_digest(what):
    """Of these nothing is recorded, and nothing is warned of."""
    model = make_model("llama")
    down = model.model.layers[1].mlp.down_proj
    if what == "meta":
        model = model.to("meta")
    elif what == "quantised":
        down.weight = nn.Parameter(torch.zeros_like(down.weight, dtype=torch.uint8), requires_grad=False)
    else:
        down.weight = nn.Parameter(torch.zeros(0))
        assert digest_of_weights(map_model(make_model("llama")))
        mapped = map_model(make_model("llama"))
        mapped.blocks[1].mlp.down_proj.weight = down.weight
        assert digest_of_weights(mapped) is None
        return
    assert digest(model) is None
