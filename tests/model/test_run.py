"""Encoder–decoders: the encoder as `get_encoder()` computes it, and the decoder on the sentence itself."""

import time
from functools import cache
from statistics import median

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.nn.modules.module import register_module_forward_pre_hook
from transformers import AutoConfig, MBartModel, T5Config, T5ForConditionalGeneration

from tests.pairs_of_stacks import PAIRS_OF_STACKS, make_pair
from tests.tiny import make_model, make_tokenizer
from tests.versions.require import require
from xalign import Reading, Site, load_pairs, map_model, measure
from xalign.errors import ArgumentError, ArgumentTypeError, ModelError, ReportError
from xalign.model import run as run_module
from xalign.model.inputs import Inputs, TextOptions
from xalign.model.read import read_states
from xalign.model.run import decoder_batch
from xalign.model.wrapped import base_model_of

PAIRS = load_pairs("bundled", ["deu_Latn"], n=6)
kept_pair = cache(make_pair)
SENTENCES = list(PAIRS["deu_Latn"].sentences)
# The others differ in their norms, activations and positions only.
BY_DEFAULT = ("t5", "mbart", "t5gemma")
FAMILIES = [
    pytest.param(family, marks=() if family in BY_DEFAULT else pytest.mark.slow) for family in PAIRS_OF_STACKS
]


def batches_of(model, **options):
    inputs = Inputs(model, make_tokenizer())
    encoded = inputs.encode(SENTENCES, options=TextOptions(**options))
    return encoded, inputs.batches(encoded.lines, token_budget=120)


def readings_of(model, stack="", pool="weighted"):
    sites = [site for kind in ("hidden", "gate", "inner") for site in map_model(model).sites(kind, stack)]
    return [Reading(site, "value", pool) for site in sites]


@pytest.fixture
def calls_of():
    """A function that counts the calls of a model's decoder from now on."""
    handles = []

    def count(model):
        decoder, calls = base_model_of(model).get_decoder(), []
        # Of all modules: a hook of the model's own would make it another model, to be mapped anew.
        hook = lambda module, _: calls.append(1) if module is decoder else None  # noqa: E731
        handles.append(register_module_forward_pre_hook(hook))
        return calls

    yield count
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_encoder_alone_runs_and_gives_its_own_states(family, calls_of):
    model = kept_pair(family)
    _, batches = batches_of(model)
    map_model(model)
    calls = calls_of(model)
    assert len(batches) > 1
    assert not all(bool(batch.real.all()) for batch in batches)  # some lines are padded
    found = read_states(model, batches, readings_of(model))
    assert not calls
    alone = model.get_encoder()
    expected = read_states(alone, batches, readings_of(alone))
    assert len(found) == len(expected) > 7
    for (reading, states), own in zip(found.items(), expected.values(), strict=True):
        assert reading.site.stack == "encoder"
        assert torch.equal(states, own), reading
    read_states(model, batches, readings_of(model, "decoder"))
    assert len(calls) == len(batches)


def start_of(family, line):
    starts = {"t5": 0, "mt5": 0, "umt5": 0, "marian": 0, "bart": 2, "m2m_100": 2, "t5gemma": 1}
    return line[-1] if family == "mbart" else starts[family]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_decoder_reads_the_sentence_behind_its_start_token(family):
    """Position t + 1 has token t as its input, and only the sentence's own tokens are pooled."""
    model = kept_pair(family)
    encoded, batches = batches_of(model, pool_special_tokens=False)
    sites = [site for site in map_model(model).sites("hidden", "decoder") if site.layer in ("embed", 0)]
    found = read_states(model, batches, [Reading(site, "value", "mean") for site in sites])
    for row, (line, pooled) in enumerate(encoded.lines):
        given = [start_of(family, line), *line]
        with torch.no_grad():
            output = model(
                input_ids=torch.tensor([line]),
                decoder_input_ids=torch.tensor([given]),
                output_hidden_states=True,
            )
        at = [place + 1 for place, own in enumerate(pooled) if own]
        assert [given[place] for place in at] == [token for token in line if token > 3]
        for number, site in enumerate(sites):
            expected = output.decoder_hidden_states[number][0, at].mean(0)
            assert torch.allclose(found[Reading(site, "value", "mean")][row], expected, atol=2e-5)


def test_a_measurement_names_its_stack():
    model, tokenizer = kept_pair("t5"), make_tokenizer()
    both = {stack: measure(model, tokenizer, PAIRS, stack=stack) for stack in ("", "encoder", "decoder")}
    alone = measure(model.get_encoder(), tokenizer, PAIRS)
    for row, result in alone.metrics.items():
        assert torch.equal(result.values["deu_Latn"], both[""].metrics[row].values["deu_Latn"])
    assert [report.stacks for report in both.values()] == [["encoder"], ["encoder"], ["decoder"]]
    assert [report.provenance["stack"] for report in both.values()] == ["", "", "decoder"]
    assert both["decoder"].provenance["pool_special_tokens"] is False
    assert not any(row["difference"] for row in both["encoder"].compare(both[""]))
    own = measure(model, tokenizer, PAIRS, ["mexa"], pool_special_tokens=False)
    with pytest.raises(ReportError, match="stack was '' before and 'decoder' after"):
        both["decoder"].compare(own)
    with pytest.raises(ReportError, match="pool_special_tokens was True before"):
        both["decoder"].compare(both[""])


def test_a_decoder_pools_no_special_token():
    model, tokenizer = kept_pair("bart"), make_tokenizer()
    asked = measure(model, tokenizer, PAIRS, ["mexa"], stack="decoder", pool_special_tokens=False)
    plain = measure(model, tokenizer, PAIRS, ["mexa"], stack="decoder")
    values = [report.metrics["mexa"].values["deu_Latn"] for report in (asked, plain)]
    floors = [report.metrics["mexa"].floors["deu_Latn"] for report in (asked, plain)]
    assert torch.equal(*values)
    assert torch.equal(*floors)


def test_both_stacks_in_one_reading():
    model = kept_pair("bart")
    _, batches = batches_of(model)
    asked = [Reading(Site("inner", 1, stack)) for stack in ("decoder", "encoder", "")]
    together = read_states(model, batches, asked)
    for reading in asked:
        assert torch.equal(together[reading], read_states(model, batches, [reading])[reading])
    assert torch.equal(together[asked[1]], together[asked[2]])
    assert not torch.equal(together[asked[0]], together[asked[1]])


@pytest.mark.parametrize("name", ["encoder", "decoder"])
def test_linears_are_read_in_the_stack_that_they_are_in(name):
    model = kept_pair("t5")
    _, batches = batches_of(model)
    path = f"{name}.block.1.layer.{1 + (name == 'decoder')}.DenseReluDense.wo"
    found = read_states(model, batches, [Reading(Site("linear", name=path))])
    wo = model.get_submodule(path)
    inner = read_states(model, batches, [Reading(Site("inner", 1, name))])[Reading(Site("inner", 1, name))]
    assert torch.allclose(next(iter(found.values())), wo(inner), atol=1e-5)


@pytest.mark.parametrize("stack", ["", "decoder"])
def test_a_lora_model_is_read_through_its_wrapper(stack, calls_of):
    torch.manual_seed(0)
    model = get_peft_model(
        make_pair("t5"), LoraConfig(target_modules=["q", "wo"], init_lora_weights=False)
    ).eval()
    merged = kept_pair("t5")
    _, batches = batches_of(model)
    map_model(model)
    calls = calls_of(model)
    found = read_states(model, batches, readings_of(model, stack))
    assert bool(calls) == (stack == "decoder")
    bare = read_states(merged, batches, readings_of(merged, stack))
    inner = model.base_model.model
    expected = read_states(inner, batches, readings_of(inner, stack))
    for reading, states in found.items():
        assert torch.equal(states, expected[reading])
    assert not all(torch.equal(states, bare[reading]) for reading, states in found.items())


def test_a_sentence_transformer_of_a_t5_is_measured_by_its_encoder(tmp_path):
    from sentence_transformers import SentenceTransformer

    model, tokenizer = kept_pair("t5"), make_tokenizer()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    outer = SentenceTransformer(str(tmp_path), device="cpu")
    assert type(outer[0].auto_model).__name__ == "T5EncoderModel"
    _, batches = batches_of(model)
    found = read_states(outer, batches, readings_of(outer))
    expected = read_states(model, batches, readings_of(model))
    for (reading, states), whole in zip(found.items(), expected.values(), strict=True):
        assert torch.equal(states, whole), reading


def test_a_forward_that_must_finish_runs_whole(monkeypatch, calls_of):
    model = kept_pair("bart")
    _, batches = batches_of(model)
    early = read_states(model, batches, readings_of(model))
    calls = calls_of(model)
    monkeypatch.setattr(run_module, "registers_hooks_in_forward", lambda model: True)
    whole = read_states(model, batches, readings_of(model))
    assert len(calls) == len(batches)
    assert all(torch.equal(states, early[reading]) for reading, states in whole.items())


def test_states_that_are_not_finite_are_found_in_their_stack():
    model = make_pair("t5")
    map_model(model)  # a model that was not mapped before cannot be once it gives NaN: see below
    with torch.no_grad():
        model.decoder.block[1].layer[2].DenseReluDense.wo.weight.fill_(float("nan"))
    assert measure(model, make_tokenizer(), PAIRS, ["mexa"]).score("mexa") >= 0
    with pytest.raises(ModelError, match=r"states at decoder.1.hidden hold NaN"):
        measure(model, make_tokenizer(), PAIRS, ["mexa"], stack="decoder")


def test_stacks_that_give_nan_are_not_found_and_it_is_said_why():
    require("it does not say which of its modules are blocks", transformers="5.14")
    model = make_pair("t5", num_layers=3)
    with torch.no_grad():
        model.decoder.block[1].layer[2].DenseReluDense.wo.weight.fill_(float("nan"))
    with pytest.raises(ModelError, match=r"several stacks.* what decoder.block.1 gives is not finite"):
        map_model(model)


@pytest.mark.parametrize(
    ("model", "options", "error", "message"),
    [
        (
            lambda: make_model("llama"),
            {"stack": "decoder"},
            ModelError,
            "stack='decoder': llama has one stack",
        ),
        (
            lambda: kept_pair("t5").get_encoder(),
            {"stack": "decoder"},
            ModelError,
            "stack='decoder': t5 has one stack",
        ),
        (lambda: kept_pair("t5"), {"stack": "vision"}, ModelError, "t5 has encoder and decoder"),
        (lambda: kept_pair("t5"), {"stack": 1}, ArgumentTypeError, "stack=1 must be the name of a stack"),
        (
            lambda: kept_pair("t5"),
            {"stack": "decoder", "template": "query: {text}", "template_pooled": True},
            ArgumentError,
            "template_pooled=True is not for stack='decoder'",
        ),
        (
            lambda: make_pair("t5", decoder_start_token_id=None),
            {"stack": "decoder"},
            ModelError,
            "does not say which token its decoder starts with; set model.config.decoder_start_token_id",
        ),
        (
            lambda: MBartModel(AutoConfig.for_model("mbart", **PAIRS_OF_STACKS["mbart"][1])).eval(),
            {"stack": "decoder"},
            ModelError,
            "or pass the model with its language-model head",
        ),
    ],
)
def test_what_cannot_be_read_is_refused(model, options, error, message):
    with pytest.raises(error, match=message):
        measure(model(), make_tokenizer(), PAIRS, ["mexa"], **options)


def test_a_decoder_whose_encoder_reads_no_text_is_refused():
    model = kept_pair("t5")
    _, (batch, *_) = batches_of(model)
    sound = type(batch)(
        {"input_features": torch.zeros(*batch.shape, 4)}, batch.pooled, batch.rows, batch.real
    )
    with pytest.raises(ModelError, match="reads text, and its encoder is given input_features"):
        decoder_batch(model, sound)


@pytest.mark.slow
def test_the_encoder_of_a_whole_model_costs_what_it_costs_alone():
    """Paired CPU times on one thread: the whole model may take 1.1 times as long as `get_encoder()`."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        torch.manual_seed(0)
        model = T5ForConditionalGeneration(
            T5Config(vocab_size=500, d_model=256, d_ff=1024, d_kv=64, num_heads=4, num_layers=6)
        ).eval()
        alone = model.get_encoder()
        inputs = Inputs(model, make_tokenizer())
        lines = inputs.encode(load_pairs("bundled")["deu_Latn"].sentences[:100]).lines
        batches = inputs.batches(lines, token_budget=2048)
        ratios = []
        for _ in range(11):
            seconds = []
            for one in (model, alone):
                readings = readings_of(one)
                started = time.process_time()
                read_states(one, batches, readings)
                seconds.append(time.process_time() - started)
            ratios.append(seconds[0] / seconds[1])
        print(f"CPU time, whole model over encoder alone: {median(ratios):.3f}")
        assert median(ratios) <= 1.1
    finally:
        torch.set_num_threads(threads)
