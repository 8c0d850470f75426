"""Control vectors of llama.cpp, read back by the gguf package."""

import sys

import numpy as np
import pytest
import torch
from gguf import GGUFReader

from tests.exports.edited import IDS, units_at, vector_at
from tests.tiny import LAYERS, WIDTH, make_model
from xalign import LanguageVector, Site, UnitSet, map_model, steer
from xalign.errors import ArgumentError, MissingExtraError, ModelError, UnitsError
from xalign.exports import export
from xalign.units.compatibility import shape_of


def read(path):
    """What a reader finds: text, numbers and tensors by name."""
    reader = GGUFReader(path)
    fields = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF")}
    return fields, {tensor.name: tensor.data for tensor in reader.tensors}


def test_the_vectors_are_read_back_to_the_bit(tmp_path):
    vector = vector_at("2.hidden", "1.hidden")
    assert vector.export("gguf", tmp_path / "v.gguf", make_model("llama")) == tmp_path / "v.gguf"
    fields, tensors = read(tmp_path / "v.gguf")
    assert fields == {
        "general.architecture": "controlvector",
        "controlvector.model_hint": "llama",
        "controlvector.layer_count": 2,
    }
    assert list(tensors) == ["direction.1", "direction.2"]
    for name, data in tensors.items():
        assert data.dtype == np.float32 and data.shape == (WIDTH,)
        assert np.array_equal(data, vector.vectors[Site("hidden", int(name[-1]))].numpy())
    scaled = vector_at("2.hidden").export(
        "gguf", tmp_path / "scaled.gguf", make_model("llama"), strength=-1.5
    )
    (data,) = read(scaled)[1].values()
    assert np.array_equal(data, -1.5 * tensors["direction.2"])


def added_after_block(model, directions):
    """What llama.cpp and repeng do: `direction.k` is added to what block k, counted from 0, gives."""
    handles = [
        model.model.layers[block].register_forward_hook(
            lambda module, args, output, block=block: output + torch.tensor(directions[f"direction.{block}"])
        )
        for block in range(LAYERS)
        if f"direction.{block}" in directions
    ]
    with torch.no_grad():
        logits = model(input_ids=IDS).logits
    for handle in handles:
        handle.remove()
    return logits


def test_a_direction_acts_after_the_block_of_its_number(tmp_path):
    vector, model = vector_at("1.hidden", "2.hidden"), make_model("llama")
    vector.export("gguf", tmp_path / "v.gguf", model)
    with torch.no_grad(), steer(model, vector):
        hooked = model(input_ids=IDS).logits
    tensors = read(tmp_path / "v.gguf")[1]
    assert torch.equal(added_after_block(model, tensors), hooked)
    shifted = {"direction.0": tensors["direction.1"], "direction.1": tensors["direction.2"]}
    assert not torch.allclose(added_after_block(model, shifted), hooked, atol=0.1)


def test_units_of_the_hidden_states_can_be_added(tmp_path):
    units = UnitSet.from_rows([("deu_Latn", "1.hidden", 3, 1.0, 2.0), ("deu_Latn", "1.hidden", 9, 1.0, -1.0)])
    units.export("gguf", tmp_path / "v.gguf", make_model("llama"), operator="add", strength=2.0)
    (data,) = read(tmp_path / "v.gguf")[1].values()
    assert {at: data[at] for at in np.flatnonzero(data)} == {3: 4.0, 9: -2.0}


def test_without_a_model(tmp_path):
    provenance = {"shape": shape_of(map_model(make_model("qwen3")))}
    vector = LanguageVector("deu_Latn", vector_at("1.hidden").vectors, provenance)
    fields, _ = read(vector.export("gguf", tmp_path / "v.gguf"))
    assert fields["controlvector.model_hint"] == "qwen3"
    with pytest.raises(ArgumentError, match="does not say of which architecture it is; pass the model"):
        vector_at("1.hidden").export("gguf", tmp_path / "other.gguf")
    with pytest.raises(ArgumentError, match="the width of site 1.hidden is not known; pass the model"):
        UnitSet.from_rows([("deu_Latn", "1.hidden", 3, 1.0, 2.0)]).export(
            "gguf", tmp_path / "other.gguf", operator="add"
        )


@pytest.mark.parametrize(
    ("what", "how", "error", "message"),
    [
        (
            vector_at("0.hidden", "1.hidden"),
            {},
            ArgumentError,
            "site 0.hidden .* llama.cpp refuses .* layer 0",
        ),
        (vector_at("embed.hidden"), {}, ArgumentError, "site embed.hidden cannot be exported as 'gguf'"),
        (vector_at("final.hidden"), {}, ArgumentError, "site final.hidden cannot be exported as 'gguf'"),
        (
            vector_at("1.mlp_out"),
            {},
            ArgumentError,
            "site 1.mlp_out cannot .* added to the hidden states after",
        ),
        (vector_at("7.hidden"), {}, ModelError, "site 7.hidden: llama has blocks 0 to 2"),
        (vector_at("1.hidden", width=8), {}, ArgumentError, r"value for site 1.hidden has shape \(8,\)"),
        (vector_at("1.hidden"), {"operator": "project"}, ArgumentError, "is added, and nothing else"),
        (units_at("inner"), {"operator": "add"}, ArgumentError, "export units as 'peft' or 'weights'"),
        (
            vector_at("1.hidden"),
            {"positions": "prompt"},
            ArgumentError,
            "positions='prompt' cannot be exported",
        ),
        (
            LanguageVector("deu_Latn", vector_at("1.hidden").vectors, {"shape": {"model_type": "gpt2"}}),
            {},
            UnitsError,
            "do not fit this one: model_type gpt2 there, llama here",
        ),
    ],
)
def test_what_a_control_vector_cannot_say_is_refused(what, how, error, message, tmp_path):
    with pytest.raises(error, match=message):
        export(what, "gguf", tmp_path / "v.gguf", make_model("llama"), **how)
    assert not list(tmp_path.iterdir())


def test_the_package_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(MissingExtraError, match="format='gguf' needs gguf: pip install .*gguf"):
        vector_at("1.hidden").export("gguf", tmp_path / "v.gguf", make_model("llama"))
