"""The zoo holds what transformers lists, and its specimens run."""

from collections import Counter

import pytest
import torch

from tests.architectures.sweep import sweep
from tests.architectures.tiny_config import VOCABULARY
from tests.architectures.zoo import MAPPINGS, run, zoo
from tests.architectures.zoo_configs import NOT_BUILT
from tests.architectures.zoo_families import FAMILIES, HEADLESS, HYBRIDS, MIXTURES

# One of each family that builds quickly; the long test builds all of them.
SAMPLE = ("llama", "mixtral", "lfm2", "albert", "t5", "llava", "wav2vec2")
FEWEST = 385


def specimens(model_type):
    return [one for one in zoo() if one.model_type == model_type]


def test_the_list_comes_from_transformers():
    from transformers.models.auto import modeling_auto

    found = {(one.model_type, one.class_name) for one in zoo()}
    assert len(found) == len(zoo())
    for mapping, task in MAPPINGS.items():
        for model_type, names in getattr(modeling_auto, f"{mapping}_MAPPING_NAMES").items():
            if task != "base":
                assert all(
                    (model_type, name) in found for name in ([names] if isinstance(names, str) else names)
                )
    assert {one.model_type for one in zoo() if one.task == "base"} == HEADLESS
    assert {one.model_type for one in zoo()} >= MIXTURES | HYBRIDS
    assert set(FAMILIES) == set(Counter(one.family for one in zoo()))


@pytest.mark.parametrize("model_type", SAMPLE)
def test_a_specimen_is_small_and_runs(model_type):
    specimen = specimens(model_type)[0]
    before = torch.get_rng_state()
    model, inputs = specimen.build()
    assert torch.equal(before, torch.get_rng_state())
    assert not model.training and sum(one.numel() for one in model.parameters()) < 5_000_000
    assert all(int(one.max()) < VOCABULARY for one in inputs.values() if not one.is_floating_point())
    first = run(model, inputs)[0]
    others = specimen.other_inputs(inputs, seed=1)
    assert {name: value.shape for name, value in inputs.items()} == {
        name: value.shape for name, value in others.items()
    }
    assert not torch.allclose(first, run(model, others)[0])
    again, same_inputs = specimen.build()
    assert torch.equal(first, run(again, same_inputs)[0])
    assert not torch.allclose(first, run(specimen.build(seed=1)[0], inputs)[0])


def test_every_weight_of_a_specimen_matters():
    """Else a map that leaves a bias or a norm out would pass."""
    model, inputs = specimens("opt")[0].build()
    expected = run(model, inputs).logits
    for name, weight in model.named_parameters():
        if "k_proj.bias" in name:  # the same for all keys of a query: softmax takes it away
            continue
        kept = weight.data.clone()
        weight.data = torch.zeros_like(kept)
        assert not torch.allclose(expected, run(model, inputs).logits, atol=1e-6), name
        weight.data = kept


@pytest.mark.slow
def test_all_specimens_run():
    rows = sweep(build_only=True)
    assert len(rows) == len(zoo())
    failed = [row for row in rows if row.failed]
    assert {row.model_type for row in failed} <= NOT_BUILT.keys(), failed
    assert len(rows) - len(failed) >= FEWEST
