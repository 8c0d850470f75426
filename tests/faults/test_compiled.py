"""A compiled model is measured, monitored, searched and steered, however it was compiled."""

import pytest
import torch
from accelerate.utils import compile_regions
from peft import LoraConfig, get_peft_model

from tests.faults.interrupts import changes, picture_of
from tests.quick import one_in
from tests.tiny import make_model, make_tokenizer
from xalign import AlignmentMonitor, UnitSet, find_units, load_pairs, measure, steer

pytestmark = pytest.mark.filterwarnings("ignore")
PAIRS = load_pairs("bundled", ["deu_Latn"], n=6)
TEXTS = {"eng_Latn": PAIRS["deu_Latn"].pivot_sentences, "deu_Latn": PAIRS["deu_Latn"].sentences}
IDS = torch.arange(4, 24).reshape(2, 10)
UNITS = UnitSet.from_rows([("deu_Latn", "1.inner", 7, 0.9, 2.5)])


def whole(model, backend):
    return torch.compile(model, backend=backend)


def in_place(model, backend):
    model.compile(backend=backend)
    return model


def regions(model, backend):
    return compile_regions(model, backend=backend)


def blocks(model, backend):
    for block in getattr(model, "model", model).get_submodule(
        "layers" if hasattr(model, "model") else "encoder.layer"
    ):
        block.compile(backend=backend)
    return model


def inner(model, backend):
    model.model = torch.compile(model.model, backend=backend)
    return model


def networks(model, backend):
    for block in model.model.layers:
        block.mlp = torch.compile(block.mlp, backend=backend)
    return model


def forward(model, backend):
    model.forward = torch.compile(model.forward, backend=backend)
    return model


def adapted(model, backend):
    lora = LoraConfig(target_modules=["q_proj", "down_proj"], init_lora_weights=True)
    return torch.compile(get_peft_model(model, lora), backend=backend)


WAYS = [whole, in_place, regions, blocks, inner, networks, forward, adapted]


def values(model):
    return [row["value"] for row in measure(model, make_tokenizer(), PAIRS).to_rows()]


@pytest.fixture(autouse=True)
def compiled_anew():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.thorough
@pytest.mark.parametrize("has_run", one_in(2, [True, False]), ids=["has run", "new"])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_compiled_models_are_measured(way, has_run):
    """A compiled model was refused: `OptimizedModule takes no input_ids`."""
    model = way(make_model("llama"), "eager")
    if has_run:
        with torch.no_grad():
            model(input_ids=IDS)
    expected = values(make_model("llama"))
    before = picture_of(model)
    assert values(model) == expected
    assert not changes(before, picture_of(model))


@pytest.mark.parametrize("way", [whole, in_place, blocks], ids=lambda way: way.__name__)
def test_encoders_too(way):
    """The wrapper of an encoder was refused as the model itself was."""
    assert values(way(make_model("bert"), "eager")) == values(make_model("bert"))


@pytest.mark.thorough
@pytest.mark.parametrize("way", [whole, in_place, regions], ids=lambda way: way.__name__)
def test_compiled_models_are_monitored_searched_and_steered(way):
    """Finders and monitors failed where `measure` did."""
    plain, tokenizer = make_model("llama"), make_tokenizer()
    model = way(make_model("llama"), "eager")
    with torch.no_grad():
        model(input_ids=IDS)
    found = find_units(model, tokenizer, TEXTS, method="expert_ap")
    expected = find_units(plain, tokenizer, TEXTS, method="expert_ap")
    assert list(found) == list(expected)
    reports = []
    for one in (model, plain):
        monitor = AlignmentMonitor(one, tokenizer, PAIRS, metrics=["margin"])
        monitor.step(0)
        reports.append(monitor.reports[0].score("margin"))
    assert reports[0] == reports[1]
    with torch.no_grad():
        unsteered = plain(input_ids=IDS).logits
        with steer(model, UNITS):
            steered = model(input_ids=IDS).logits
        with steer(plain, UNITS):
            assert torch.equal(steered, plain(input_ids=IDS).logits)
        assert not torch.equal(steered, unsteered)
        assert torch.allclose(model(input_ids=IDS).logits, unsteered)


@pytest.mark.slow
@pytest.mark.parametrize("way", [whole, in_place, regions], ids=lambda way: way.__name__)
def test_as_users_compile(way):
    """With the default backend, after and before the compiled model has run."""
    model = way(make_model("llama"), "inductor")
    with torch.no_grad():
        compiled = model(input_ids=IDS).logits
        assert values(model) == values(make_model("llama"))
        assert torch.equal(model(input_ids=IDS).logits, compiled)  # and it is compiled still
