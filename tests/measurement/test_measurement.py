"""measure: from text to report, on tiny models."""

import copy
import functools
import gc
import math
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import transformers
from peft import PromptTuningConfig, get_peft_model
from tokenizers.normalizers import Lowercase

from tests.tiny import make_model, make_tokenizer
from xalign import ParallelPairs, load_pairs, measure
from xalign.errors import ArgumentError, ArgumentTypeError, ModelError, PairsError, XAlignError
from xalign.measurement import Measurement
from xalign.model.encode import encode
from xalign.model.read import Reader


@pytest.fixture(scope="module")
def pairs():
    return load_pairs("bundled", ["deu_Latn", "zho_Hans"], n=20)


@pytest.fixture(scope="module")
def model():
    return make_model("llama")


@pytest.fixture(scope="module")
def separate():
    bundled = load_pairs("bundled", ["deu_Latn", "spa_Latn"], n=40)
    german, spanish = bundled["deu_Latn"], bundled["spa_Latn"]
    return ParallelPairs.from_bitexts(
        {
            "deu_Latn": (german.pivot_sentences[:15], german.sentences[:15]),
            "spa_Latn": (spanish.pivot_sentences[20:], spanish.sentences[20:]),
        }
    )


def test_layers_and_readings(model, tokenizer, pairs):
    report = measure(model, tokenizer, pairs)
    assert report.metrics["nasca"].layers == (0, 1, 2)
    assert report.metrics["nasca"].readings[1] == "1.gate:active:weighted"
    assert report.metrics["navca"].readings[1] == "1.inner:abs:weighted"
    assert report.metrics["mexa"].layers == (
        "embed",
        0,
        1,
        "final",
    )  # the last block is `final`, after the norm
    assert report.metrics["retrieval_to_pivot"].layers == ("embed", 0, 1, "final")
    for result in report.metrics.values():
        assert {values.shape for values in result.values.values()} == {(len(result.layers), 20)}
        assert {values.dtype for values in result.values.values()} == {torch.bool}


def test_options_change_what_is_read(model, tokenizer, pairs):
    swapped = measure(
        model, tokenizer, pairs, ["nasca", "navca"], state_site="inner", value_site="gate", pool="last"
    )
    assert swapped.metrics["nasca"].readings[0] == "0.inner:active:last"
    assert swapped.metrics["navca"].readings[0] == "0.gate:abs:last"
    without = measure(model, tokenizer, pairs, ["mexa"], include_embedding=False)
    assert without.metrics["mexa"].layers == (0, 1, "final")


def test_the_same_whatever_the_batches(model, tokenizer, pairs):
    reports = [measure(model, tokenizer, pairs, token_budget=budget) for budget in (1, 200, 10_000)]
    assert reports[0].cost.forwards == 60
    assert reports[2].cost.forwards == 3
    for metric, result in reports[0].metrics.items():
        for language, values in result.values.items():
            for other in reports[1:]:
                flips = (values != other.metrics[metric].values[language]).sum(dim=1)
                assert flips.max() <= 1


def test_floors_need_no_model(tokenizer, pairs):
    first, second = (measure(make_model(family), tokenizer, pairs, ["nasca"]) for family in ("llama", "gpt2"))
    assert first.floor("nasca", "deu_Latn") == second.floor("nasca", "deu_Latn") > 0
    assert first.floor("nasca", "zho_Hans") < first.floor("nasca", "deu_Latn")


def test_separate_bitexts_are_like_each_measured_alone(model, tokenizer, separate):
    together = measure(model, tokenizer, separate)
    for language in separate:
        alone = measure(model, tokenizer, separate.only([language]))
        for metric in together.metrics:
            assert torch.equal(
                together.metrics[metric].values[language], alone.metrics[metric].values[language]
            )
        assert together.floor("nasca", language) == alone.floor("nasca", language)
    assert together.cost.tokens == sum(
        measure(model, tokenizer, separate.only([language]), ["nasca"]).cost.tokens for language in separate
    )


def test_only_the_pivot_and_one_language_are_held(model, tokenizer, separate, monkeypatch):
    """What is alive does not grow with the number of languages: ten readings of two sides."""
    alive, most = weakref.WeakSet(), []
    read = Reader.read

    def watched(*args, **kwargs):
        states = read(*args, **kwargs)
        alive.update(states.values())
        gc.collect()
        most.append(len(list(alive)))
        return states

    monkeypatch.setattr(Reader, "read", watched)
    bundled = load_pairs("bundled", n=20)
    peaks = [
        measure(model, tokenizer, bundled.only(bundled.languages[:count])).cost.peak_bytes for count in (1, 4)
    ]
    # 20 sentences × two sides × float32 × (3 gates and 3 inners of 80, 4 hidden states of 32)
    assert peaks == [2 * 20 * 4 * (6 * 80 + 4 * 32)] * 2
    measure(model, tokenizer, separate)  # here every language has a pivot side of its own
    assert max(most) == 2 * 10


def test_shuffled_pairs_fall_to_chance(tokenizer):
    """Random states still find translations that share words, and none once they are mispaired."""
    bundled = load_pairs("bundled", ["deu_Latn"])
    text = {
        "eng_Latn": bundled["deu_Latn"].pivot_sentences,
        "deu_Latn": [s + "!" for s in bundled["deu_Latn"].pivot_sentences],
    }
    pairs = ParallelPairs(text)
    model = make_model("llama")
    assert measure(model, tokenizer, pairs, ["mexa"]).score("mexa") > 0.8
    mispaired = [measure(model, tokenizer, pairs.shuffled(seed), ["mexa"]).score("mexa") for seed in range(3)]
    assert max(mispaired) <= 0.02


def test_equal_translations_tie(model, tokenizer):
    """Repeated sentences are run once, so that neither wins by a rounding error."""
    texts = {
        "eng_Latn": [f"Number {i} rains." for i in range(12)],
        "deu_Latn": ["Es regnet."] * 6 + [f"Satz {i}." for i in range(6)],
    }
    with pytest.warns(UserWarning, match="deu_Latn 5"):
        pairs = ParallelPairs(texts)
    report = measure(model, tokenizer, pairs, token_budget=30)
    for metric in ("nasca", "navca", "mexa"):
        assert not report.metrics[metric].values["deu_Latn"][:, :6].any()


def test_stats_and_provenance(model, tokenizer, pairs):
    report = measure(model, tokenizer, pairs, ["nasca"], revision="abc", template="say: {text}")
    assert set(report.stats) == {"eng_Latn", "deu_Latn", "zho_Hans"}
    own = encode(tokenizer, pairs["zho_Hans"].sentences).own_tokens
    assert report.stats["zho_Hans"].tokens_per_sentence == pytest.approx(sum(own) / 20)
    assert report.stats["zho_Hans"].unknown_share == 0
    about = report.provenance
    assert (about["revision"], about["template"], about["model_type"]) == ("abc", "say: {text}", "llama")
    assert (about["dtype"], about["n_layers"], about["fingerprint"]) == ("float32", 3, pairs.fingerprint)
    assert set(about["versions"]) == {"xalign", "torch", "transformers", "numpy", "python"}
    named = measure(model, tokenizer, pairs, ["nasca"], template=lambda text, language: f"{language}: {text}")
    assert "lambda" in named.provenance["template"]
    assert report.cost.cpu_seconds > 0
    assert report.cost.tokens > sum(own)


def test_templates_change_states_and_only_the_sentence_is_pooled(model, tokenizer, pairs):
    plain = measure(model, tokenizer, pairs, ["mexa"], pool_special_tokens=False)
    inside = measure(model, tokenizer, pairs, ["mexa"], template="{text}!")
    # What comes after a sentence cannot change its own tokens' states in a causal model.
    assert torch.equal(plain.metrics["mexa"].values["deu_Latn"], inside.metrics["mexa"].values["deu_Latn"])
    pooled = measure(model, tokenizer, pairs, ["mexa"], template="{text}!", template_pooled=True)
    assert not torch.equal(
        pooled.metrics["mexa"].values["deu_Latn"], inside.metrics["mexa"].values["deu_Latn"]
    )


def test_a_measurement_can_be_run_again(model, tokenizer, pairs):
    measurement = Measurement(model, tokenizer, pairs)
    measurement.probe()
    first, second = measurement.run(step=1), measurement.run(step=2)
    assert (first.step, second.step) == (1, 2)
    assert first.summary() == second.summary() == measure(model, tokenizer, pairs).summary()
    assert measurement.tokens == first.cost.tokens


def test_a_tokenizer_without_a_pad_token(model, pairs):
    tokenizer = make_tokenizer.__wrapped__()
    expected = measure(model, tokenizer, pairs).summary()
    tokenizer.pad_token = None
    assert measure(model, tokenizer, pairs).summary() == expected
    assert tokenizer.pad_token is None


def test_a_dead_relu_network_is_warned_about(tokenizer, pairs):
    model = make_model("opt")
    with torch.no_grad():
        model.model.decoder.layers[1].fc1.bias.fill_(-1e3)
    with pytest.warns(UserWarning, match=r"only zeros in 1\.gate:active:weighted of deu_Latn"):
        report = measure(model, tokenizer, pairs.only(["deu_Latn"]), ["nasca"])
    assert not report.per_sentence("nasca", "deu_Latn", 1).any()
    assert not math.isnan(report.score("nasca"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"metrics": ["nasca", "bleu"]},
            r"metrics=\['bleu'\] unknown; choose from nasca, navca, mexa, retrieval, margin",
        ),
        ({"metrics": []}, "metrics is empty; choose from nasca"),
        ({"metrics": "nasca"}, r"metrics must be a list of names, like \['nasca'\], not 'nasca'"),
        ({"metrics": ["nasca", "nasca"]}, "names a metric twice"),
        ({"state_site": "up"}, "state_site='up' must be 'gate' or 'inner'"),
        ({"pool": "sum"}, "pool='sum' must be one of"),
        ({"token_budget": 0}, "token_budget=0"),
        ({"template": "query"}, r"must hold \{text\}"),
        ({"model": torch.nn.Linear(2, 2)}, "not an architecture xalign knows"),
        ({"model": "gpt2"}, "must be a torch module, not str"),
        ({"tokenizer": None}, "tokenizer must be a transformers tokenizer, not NoneType"),
        ({"pairs": "nowhere"}, "does not exist"),
        ({"seed": -1}, "seed=-1 must be at least 0"),
        ({"seed": "x"}, "seed='x' must be a whole number"),
        ({"revision": 5}, "revision=5 must be text"),
        ({"metrics": [["nasca"]]}, "unknown; choose from"),
    ],
)
def test_bad_input(model, tokenizer, pairs, change, message):
    arguments = {"model": model, "tokenizer": tokenizer, "pairs": pairs} | change
    with pytest.raises(XAlignError, match=message):
        measure(**arguments)


def test_unknown_options_are_refused(model, tokenizer, pairs):
    with pytest.raises(TypeError, match="batch_size"):
        measure(model, tokenizer, pairs, batch_size=3)


def test_sentences_longer_than_the_context(tokenizer, pairs):
    lengths = [len(ids) for ids in encode(tokenizer, pairs["zho_Hans"].sentences).ids]
    limit = sorted(lengths)[-2]
    model = make_model("llama", max_position_embeddings=limit)
    row = lengths.index(max(lengths))
    with pytest.raises(
        ArgumentError, match=rf"1 sentence\(s\) in zho_Hans have more tokens .* {row} \({max(lengths)}\)"
    ):
        measure(model, tokenizer, pairs.only(["zho_Hans"]), ["nasca"])
    report = measure(model, tokenizer, pairs.only(["zho_Hans"]), ["nasca"], truncate=True)
    assert report.provenance["truncate"] is True


def test_repeated_pivot_sentences_are_refused(model, tokenizer):
    with pytest.warns(UserWarning, match="eng_Latn 1"):
        pairs = ParallelPairs({"en": ["It rains.", "It snows.", "It rains."], "de": ["a b", "c d", "e f"]})
    with pytest.raises(
        PairsError, match=r"1 pivot sentence\(s\) in eng_Latn .* pairs\.without_duplicates\(\)"
    ):
        measure(model, tokenizer, pairs)
    assert measure(model, tokenizer, pairs.without_duplicates())


@pytest.mark.parametrize("layer", [0, 2])
def test_nan_weights_name_their_layer(tokenizer, pairs, layer):
    model = make_model("gpt2")
    with torch.no_grad():
        model.transformer.h[layer].mlp.c_fc.weight[0, 0] = torch.nan
    with pytest.raises(ModelError, match=rf"states at {layer}\.hidden hold NaN"):
        measure(model, tokenizer, pairs, ["nasca"])


def test_wrong_type_of_metrics():
    with pytest.raises(ArgumentTypeError):
        measure(make_model("llama"), make_tokenizer(), "bundled", metrics=None)


def test_the_tokenizer_of_another_model(tokenizer, pairs):
    model = make_model("llama")
    model.resize_token_embeddings(20)
    with pytest.raises(ArgumentError, match="and the model embeds 20 tokens: pass the tokenizer"):
        Measurement(model, tokenizer, pairs)


def test_a_pad_token_without_room_in_the_embedding(tokenizer, pairs):
    model, tokenizer = make_model("llama"), copy.deepcopy(tokenizer)
    model.resize_token_embeddings(len(tokenizer))
    expected = measure(model, tokenizer, pairs, ["nasca"]).score()
    tokenizer.add_special_tokens({"pad_token": "<new pad>"})
    assert measure(model, tokenizer, pairs, ["nasca"]).score() == expected


def test_weights_without_values(tokenizer, pairs):
    with pytest.raises(ModelError, match="on the meta device"):
        measure(make_model("llama").to("meta"), tokenizer, pairs)


def test_a_wrapper_with_another_forward(tokenizer, pairs):
    class Sentences(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inside = make_model("bert")
            self.config = self.inside.config

        def forward(self, features):
            return self.inside(**features)

    with pytest.raises(ModelError, match="Sentences takes no input_ids; pass the transformers model inside"):
        measure(Sentences(), tokenizer, pairs)


def test_a_model_that_adds_tokens(tokenizer, pairs):
    prompts = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    model = get_peft_model(transformers.LlamaForCausalLM(make_model("llama").config), prompts)
    report = measure(model, tokenizer, pairs, ["nasca"])
    assert report.stats == measure(make_model("llama"), tokenizer, pairs, ["nasca"]).stats


def test_a_template_that_is_an_object(model, tokenizer, pairs):
    report = measure(model, tokenizer, pairs, ["nasca"], template="query: {text}")

    class Prefix:
        def __call__(self, text, language):
            return f"query: {text}"

    again = measure(model, tokenizer, pairs, ["nasca"], template=Prefix())
    assert again.provenance["template"].endswith("Prefix")
    assert again.score() == report.score()


def test_pivots_that_are_equal_as_tokens(model, tokenizer):
    lower = copy.deepcopy(tokenizer)
    lower.backend_tokenizer.normalizer = Lowercase()
    pairs = ParallelPairs({"en": ["It rains.", "IT RAINS.", "Good day."], "de": list("abc")})
    with pytest.warns(UserWarning, match="1 pivot sentence.* are the same tokens as an earlier one"):
        assert not measure(model, lower, pairs, ["nasca"]).per_sentence("nasca", "deu_Latn", 0)[:2].any()


def test_threads_do_not_leave_the_model_in_evaluation_mode(tokenizer, pairs):
    model = make_model("llama").train()
    with ThreadPoolExecutor(2) as threads:
        runs = [threads.submit(measure, model, tokenizer, pairs, ["nasca"]) for _ in range(4)]
    assert len({run.result().score() for run in runs}) == 1
    assert all(module.training for module in model.modules())


def test_a_wrapper_that_keeps_the_model_inside(model, tokenizer, pairs):
    wrapped = torch.nn.DataParallel(model)
    assert measure(wrapped, tokenizer, pairs).to_rows() == measure(model, tokenizer, pairs).to_rows()


def test_a_head_that_needs_a_pad_token_is_found_by_the_probe(tokenizer, pairs):
    config = make_model("llama").config
    model = transformers.LlamaForSequenceClassification(config)
    model.config.pad_token_id = None
    with pytest.raises(ValueError, match="no padding token"):
        Measurement(model, tokenizer, pairs).probe()


def test_models_split_so_that_states_are_hidden_are_refused():
    model, tokenizer, pairs = make_model("llama"), make_tokenizer(), load_pairs("bundled", ["deu_Latn"], n=4)
    measurement = Measurement(model, tokenizer, pairs, ["nasca"])
    model.lm_head.weight.ds_id = 0  # as DeepSpeed marks what it has split, here after it was built
    for attempt in (measurement.run, lambda: measure(model, tokenizer, pairs, ["nasca"])):
        with pytest.raises(ModelError, match="DeepSpeed ZeRO-3 is not supported"):
            attempt()
    del model.lm_head.weight.ds_id
    model._tp_size = 2
    with pytest.raises(
        ModelError, match="tensor parallelism is not supported: each process holds only its part"
    ):
        measure(model, tokenizer, pairs, ["nasca"])
    with pytest.raises(ModelError, match="nn.DataParallel copies the model"):
        several = torch.nn.DataParallel(make_model("llama"))
        several.device_ids = [0, 1]
        measure(several, tokenizer, pairs, ["nasca"])


def test_out_of_memory_halves_the_batch_and_changes_no_score():
    pairs = load_pairs("bundled", ["deu_Latn"], n=12)
    model, tokenizer = make_model("llama"), make_tokenizer()
    expected = measure(model, tokenizer, pairs, ["nasca", "margin"])
    forward, sizes = model.forward, []

    @functools.wraps(forward)
    def small(*args, **kwargs):
        sizes.append(kwargs["input_ids"].numel())
        if sizes[-1] > 200:
            raise torch.OutOfMemoryError("simulated")
        return forward(*args, **kwargs)

    model.forward = small
    with pytest.warns(UserWarning, match=r"out of memory with \d+ sentences of \d+ tokens .* run in halves"):
        found = measure(model, tokenizer, pairs, ["nasca", "margin"])
    assert max(sizes) > 200 > min(sizes)
    assert found.score("nasca") == expected.score("nasca")
    assert found.score("margin") == pytest.approx(expected.score("margin"), abs=1e-6)
    sizes.clear()
    with pytest.raises(ModelError, match=r"out of memory with 1 sentence\(s\) of \d+ tokens in one forward"):
        model.forward = functools.wraps(forward)(
            lambda **kwargs: (_ for _ in ()).throw(torch.OutOfMemoryError())
        )
        with pytest.warns(UserWarning, match="run in halves"):
            measure(model, tokenizer, pairs, ["nasca"])
