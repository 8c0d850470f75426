"""`diagnose` says what `measure` would do: what is there, what is refused, what it costs."""

import json
from dataclasses import fields

import pytest
import torch
from transformers import AutoConfig, AutoModel

import xalign
from tests.marking_tokenizers import make_nllb
from tests.tiny import FFN, LAYERS, WIDTH, make_model, make_tokenizer
from xalign import ParallelPairs, XAlignError, load_pairs, measure
from xalign.measurement.expected import Memory
from xalign.metrics import METRICS
from xalign.metrics.metric import Metric


@pytest.fixture
def pairs():
    return load_pairs("bundled", ["deu_Latn", "zho_Hans"], n=10)


def make(family, **sizes):
    config = AutoConfig.for_model(
        family, vocab_size=500, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, **sizes
    )
    torch.manual_seed(0)
    return AutoModel.from_config(config).eval()


def weights_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_what_is_there(pairs):
    model, tokenizer = make_model("llama"), make_tokenizer()
    before, random = weights_of(model), torch.get_rng_state()
    model.train()
    found = xalign.diagnose(model, tokenizer, pairs)
    assert model.training and torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert found.is_measurable and found.refusals == ()
    assert (found.model.architecture, found.model.class_name) == ("llama", "LlamaForCausalLM")
    assert found.model.parameters == model.num_parameters()
    (stack,) = found.model.stacks
    (blocks,) = stack.blocks
    assert (blocks.first, blocks.last, stack.width, stack.neurons) == (0, LAYERS - 1, WIDTH, LAYERS * FFN)
    assert blocks.widths["inner"] == (FFN,) and blocks.refused == {}
    assert (found.tokenizer.padding_side, found.tokenizer.pad_token) == ("right", "<pad>")
    assert (found.tokenizer.context, found.tokenizer.ids, found.tokenizer.embedded) == (512, 500, 500)
    assert not found.tokenizer.marks_languages

    report = measure(model, tokenizer, pairs)
    for code, facts in found.languages.items():
        assert facts.tokens_per_sentence == report.stats[code].tokens_per_sentence
        assert facts.unknown_share == report.stats[code].unknown_share
    words = sum(len(sentence.split()) for sentence in pairs["deu_Latn"].sentences)
    german = found.languages["deu_Latn"]
    assert german.tokens_per_word == pytest.approx(10 * german.tokens_per_sentence / words)
    assert german.longest == 1 + max(len(tokenizer.tokenize(one)) for one in pairs["deu_Latn"].sentences)
    assert found.languages["zho_Hans"].tokens_per_word is None  # no spaces between words
    assert (found.expected.forwards, found.expected.tokens) == (report.cost.forwards, report.cost.tokens)


def refusal(found, what):
    (one,) = (one for one in found.refusals if one.what == what)
    return one


def long_pairs(pairs):
    return make_model("bert", max_position_embeddings=40), make_tokenizer(), pairs, {}


def small_embedding(pairs):
    return make_model("llama", vocab_size=300), make_tokenizer(), pairs, {}


def repeated_pivot(pairs):
    doubled = {code: list(pairs[code].sentences) for code in pairs}
    pivot = list(pairs["deu_Latn"].pivot_sentences)
    with pytest.warns(UserWarning, match="duplicate|repeat"):
        texts = {"eng_Latn": [*pivot[:-1], pivot[0]], **doubled}
        return make_model("llama"), make_tokenizer(), ParallelPairs(texts, pivot="eng_Latn"), {}


def state_space(pairs):
    return make("mamba", intermediate_size=64), make_tokenizer(), pairs, {}


def bad_template(pairs):
    return make_model("llama"), make_tokenizer(), pairs, {"template": "no text"}


def nothing_to_find(pairs):
    class Plain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(4, 4)

    return Plain(), make_tokenizer(), pairs, {}


def not_finite(pairs):
    model = make_model("llama")
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[0, 0] = float("nan")
    return model, make_tokenizer(), pairs, {}


@pytest.mark.parametrize(
    ("make_case", "what", "said"),
    [
        (long_pairs, "deu_Latn", "more tokens than the model's context of 40"),
        (small_embedding, "deu_Latn", "the model embeds 300 tokens"),
        (repeated_pivot, "sentences", "without_duplicates()"),
        (state_space, "metric nasca", "sites of kind gate"),
        (bad_template, "eng_Latn", "must hold {text} exactly once"),
        (nothing_to_find, "model", "register_layout"),
        (not_finite, "measurement", "hold NaN or infinity"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
@pytest.mark.filterwarnings("ignore:duplicate")
def test_it_refuses_where_measure_refuses(make_case, what, said, pairs):
    model, tokenizer, text, options = make_case(pairs)
    with pytest.raises(XAlignError) as error:
        measure(model, tokenizer, text, **options)
    found = xalign.diagnose(model, tokenizer, text, **options)
    assert not found.is_measurable and found.expected is None
    assert said in refusal(found, what).reason
    assert any(str(error.value) == one.reason for one in found.refusals), error.value
    assert "would be refused" in str(found)


def test_metrics_that_can_run_are_the_remedy(pairs):
    found = xalign.diagnose(make("mamba", intermediate_size=64), make_tokenizer(), pairs)
    assert refusal(found, "metric navca").remedy == "metrics=['mexa', 'retrieval']"
    able = xalign.diagnose(
        make("mamba", intermediate_size=64), make_tokenizer(), pairs, ["mexa", "retrieval"]
    )
    assert able.is_measurable and able.expected is not None
    assert "inner" in able.model.stacks[0].blocks[0].refused


def test_what_is_only_noted(pairs):
    """A cut, a language that the tokenizer does not know, and equal sentences of another language."""
    doubled = [*pairs["deu_Latn"].sentences[:-1], pairs["deu_Latn"].sentences[0]]
    with pytest.warns(UserWarning):
        text = ParallelPairs({"eng_Latn": pairs["deu_Latn"].pivot_sentences, "deu_Latn": doubled})
    found = xalign.diagnose(make_model("llama"), make_tokenizer(), text, max_length=20)
    assert found.is_measurable
    notes = [one.reason for one in found.refusals if one.what == "deu_Latn"]
    assert any("are cut to 20 tokens" in one for one in notes), notes
    assert any("repeat an earlier one" in one for one in notes), notes


def test_language_codes(pairs):
    tokenizer = make_nllb(extra_special_tokens=["deu_Latn", "eng_Latn"])
    model = make_model("llama", vocab_size=len(tokenizer))
    found = xalign.diagnose(model, tokenizer, pairs)
    assert found.tokenizer.marks_languages
    known = {code: facts.mark for code, facts in found.languages.items()}
    assert known == {"eng_Latn": "eng_Latn", "deu_Latn": "deu_Latn", "zho_Hans": None}
    assert not found.is_measurable
    assert any("no code" in one.reason for one in found.refusals if one.what == "zho_Hans")


def test_as_data_and_as_text(pairs):
    for found in (
        xalign.diagnose(make_model("gpt2"), make_tokenizer(), pairs),
        xalign.diagnose(make("mamba", intermediate_size=64), make_tokenizer(), pairs),
    ):
        content = json.loads(json.dumps(found.to_dict()))
        assert content["is_measurable"] == found.is_measurable
        assert {one.name for one in fields(found)} < content.keys()
        lines = str(found).splitlines()
        assert max(map(len, lines)) <= 80
        for code in ("eng_Latn", "deu_Latn", "zho_Hans"):
            assert any(line.strip().startswith(code) for line in lines)


def test_options_are_those_of_measure(pairs):
    with pytest.raises(XAlignError, match="trucate"):
        xalign.diagnose(make_model("llama"), make_tokenizer(), pairs, trucate=True)
    with pytest.raises(XAlignError, match="unknown"):
        xalign.diagnose(make_model("llama"), make_tokenizer(), pairs, ["bleu"])
    with pytest.raises(XAlignError, match="pairs=3"):
        xalign.diagnose(make_model("llama"), make_tokenizer(), 3)


def test_a_metric_of_ones_own(pairs):
    own = Metric("own", "Own", "hidden", lambda similarity: similarity.diagonal(), bounds=(-1.0, 1.0))
    found = xalign.diagnose(make_model("llama"), make_tokenizer(), pairs, [own])
    assert found.is_measurable and found.metrics == ("own",) and "own" not in METRICS


def test_memory_adds_up():
    """On another device the model's part is there; at home all of it is in one place."""
    parts = {"weights": 100, "forward": 50, "states": 20, "comparison": 10, "floor": 90}
    at_home, elsewhere = Memory(**parts, in_one=True), Memory(**parts, in_one=False)
    assert (at_home.on_device, at_home.in_main) == (190, 0)
    assert (elsewhere.on_device, elsewhere.in_main) == (150, 90)
