"""Weights without values are refused where they run, and only there; offloaded ones are loaded and run."""

import pytest
import torch
from accelerate import cpu_offload, disk_offload, dispatch_model

from tests.faults.interrupts import changes, picture_of
from tests.tiny import make_model, make_tokenizer
from xalign import AlignmentMonitor, find_units, load_pairs, measure
from xalign.errors import ModelError
from xalign.model.placement import device_of

pytestmark = pytest.mark.filterwarnings("ignore")
PAIRS = load_pairs("bundled", ["deu_Latn"], n=6)


def scores(model):
    return [row["value"] for row in measure(model, make_tokenizer(), PAIRS).to_rows()]


# Every kind of weight that runs: the first, one of a block, a norm, the head, and a buffer.
RUN = (
    "model.embed_tokens",
    "model.layers.1.mlp.up_proj",
    "model.layers.2.self_attn.q_proj",
    "model.layers.0.input_layernorm",
    "model.norm",
    "lm_head",
    "model.rotary_emb",
)


@pytest.mark.parametrize("path", RUN)
def test_a_weight_without_values_is_named(path):
    """Only the first parameter was looked at: others gave arbitrary numbers, and no error."""
    model = make_model("llama")
    model.get_submodule(path).to("meta")
    with pytest.raises(
        ModelError, match=rf"{path}\.\w+( \(and 1 more\))? is on the meta device, where it has no values"
    ):
        scores(model)
    assert not torch.utils._python_dispatch._get_current_dispatch_mode()


@pytest.mark.parametrize("path", RUN)
def test_gaps_are_found_by_finders_and_monitors_too(path):
    """They look at the model through the same door."""
    model = make_model("llama")
    model.get_submodule(path).to("meta")
    texts = {"eng_Latn": ["It rains.", "Who?"], "deu_Latn": ["Es regnet.", "Wer?"]}
    with pytest.raises(ModelError, match=path):
        find_units(model, make_tokenizer(), texts, method="expert_ap")
    monitor = AlignmentMonitor(model, make_tokenizer(), PAIRS)
    with pytest.warns(UserWarning, match=path):  # a run that is watched goes on
        assert monitor.step(0) is None


def test_a_weight_that_does_not_run_may_have_no_values():
    """The first parameter was on the meta device, and the model was refused although nothing runs it."""
    model = make_model("llama")
    expected = scores(model)
    unused = torch.nn.Linear(4, 4, device="meta")
    model._modules = {"unused": unused, **model._modules}
    assert next(model.parameters()).is_meta
    assert scores(model) == expected
    assert device_of(model).type == "cpu"


def test_no_values_at_all():
    """The error says so before anything is run."""
    with pytest.raises(ModelError, match="no weight of this LlamaForCausalLM has values"):
        scores(make_model("llama").to("meta"))


OFFLOADED = {
    "cpu": lambda model, folder: cpu_offload(model),
    "cpu, buffers too": lambda model, folder: cpu_offload(model, offload_buffers=True),
    "disk": lambda model, folder: disk_offload(model, str(folder)),
    "half": lambda model, folder: dispatch_model(
        model, {"model.embed_tokens": "cpu", "lm_head": "cpu", "model.norm": "cpu", "model.rotary_emb": "cpu"}
        | {f"model.layers.{n}": "disk" if n else "cpu" for n in range(3)},
        main_device="cpu", offload_dir=str(folder), force_hooks=True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", OFFLOADED)
def test_offloaded_models_are_measured(how, tmp_path):
    """They were refused: their weights are on the meta device between forwards."""
    expected = scores(make_model("llama"))
    model = OFFLOADED[how](make_model("llama"), tmp_path / "offloaded")
    assert any(parameter.is_meta for parameter in model.parameters())
    before = {name: tensor.device for name, tensor in model.named_parameters()}
    picture = picture_of_values(model)
    assert scores(model) == expected
    assert {name: tensor.device for name, tensor in model.named_parameters()} == before
    assert not changes(picture, picture_of_values(model))


def picture_of_values(model):
    """Without what accelerate exchanges in each forward."""
    return {
        name: value
        for name, value in picture_of(model).items()
        if not name.endswith(("._parameters", "._buffers", "(values)"))
    }
