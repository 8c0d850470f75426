"""What a model takes: pad id, context, vocabulary, options, batches, and the language of the tokenizer."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import NllbTokenizer

from tests.tiny import VOCABULARY, make_model, make_tokenizer
from tests.versions.require import require
from xalign.errors import ArgumentError, ArgumentTypeError, ModelError
from xalign.model.batches import Batch, make_batches
from xalign.model.encode import encode
from xalign.model.inputs import Inputs, TextOptions

SENTENCES = ["Have you fed the cat?", "No.", "Whose umbrella is this?", "No."]
PIECES = ["▁", "a", "b", "▁a", "▁b"]


class Called(torch.nn.Module):
    """A wrapper that holds the model as `module`, as DDP does."""

    def __init__(self, model):
        super().__init__()
        self.module = model


def nllb(**options):
    require("its tokenizers are made of files", transformers="5.0")
    vocabulary = {piece: index for index, piece in enumerate(["<s>", "<pad>", "</s>", "<unk>", *PIECES])}
    return NllbTokenizer(
        vocab=vocabulary,
        merges=[("▁", "a"), ("▁", "b")],
        extra_special_tokens=["deu_Latn", "eng_Latn", "zho_Hans"],
        **options,
    )


def tokens_of(tokenizer, encoded):
    return [tokenizer.convert_ids_to_tokens(list(ids)) for ids in encoded.ids]


@pytest.fixture
def plain():
    """A tokenizer whose settings a test may change."""
    tokenizer = make_tokenizer()
    before = tokenizer.pad_token, tokenizer.eos_token, tokenizer.model_max_length
    yield tokenizer
    tokenizer.pad_token, tokenizer.eos_token, tokenizer.model_max_length = before


def wrapped(how):
    model = make_model("llama")
    if how == "lora":
        return get_peft_model(model, LoraConfig(target_modules="all-linear"))
    if how == "compile":
        return torch.compile(model, backend="eager")
    return Called(model) if how == "ddp" else model


@pytest.mark.parametrize("how", ["plain", "lora", "compile", "ddp"])
def test_what_is_known_of_a_model(tokenizer, how):
    inputs = Inputs(wrapped(how), tokenizer)
    assert (inputs.context, inputs.vocabulary, inputs.pad_id) == (512, VOCABULARY, tokenizer.pad_token_id)


def test_a_pad_token_that_the_model_does_not_embed_is_passed_over(plain):
    model = make_model("llama", vocab_size=400)
    plain.pad_token = plain.convert_ids_to_tokens(450)
    assert Inputs(model, plain).pad_id == plain.eos_token_id
    assert Inputs(Called(model), plain).pad_id == plain.eos_token_id
    plain.eos_token = plain.convert_ids_to_tokens(451)
    inputs = Inputs(model, plain)
    assert inputs.pad_id == 0
    batch = Inputs(make_model("llama"), plain).batches([((5,), (True,)), ((6, 7), (True, True))])[0]
    assert batch.inputs["input_ids"].tolist() == [[6, 7], [5, 450]]
    batch = inputs.batches([((5,), (True,)), ((6, 7), (True, True))])[0]
    assert batch.inputs["input_ids"].tolist() == [[6, 7], [5, 0]]
    assert batch.real.tolist() == [[True, True], [True, False]]


def test_the_context_is_the_smaller_limit(plain):
    assert Inputs(make_model("llama"), plain).context == 512
    plain.model_max_length = 100
    assert Inputs(make_model("llama"), plain).context == 100
    assert Inputs(make_model("bloom"), plain).context == 100


def test_what_inputs_are_not_made_of(tokenizer):
    with pytest.raises(ArgumentTypeError, match="tokenizer must be a transformers tokenizer, not str"):
        Inputs(make_model("llama"), "llama")
    with pytest.raises(ModelError, match="Linear has no config"):
        Inputs(torch.nn.Linear(2, 2), tokenizer)


def test_encoding_takes_context_and_vocabulary_from_the_model(tokenizer):
    inputs = Inputs(make_model("llama"), tokenizer)
    assert inputs.encode(SENTENCES) == encode(tokenizer, SENTENCES, context=512, vocabulary=VOCABULARY)
    options = TextOptions(template="query: {text}")
    assert inputs.encode(SENTENCES, options=options) == encode(tokenizer, SENTENCES, template="query: {text}")
    short = Inputs(make_model("llama", max_position_embeddings=8), tokenizer)
    with pytest.raises(
        ArgumentError, match=r"in eng_Latn have more tokens than the model's context of 8: umb"
    ):
        short.encode(SENTENCES[2:], "eng_Latn", ids=["umbrella", "no"])
    assert max(map(len, short.encode(SENTENCES, options=TextOptions(truncate=True)).ids)) == 8
    assert max(map(len, inputs.encode(SENTENCES, options=TextOptions(max_length=5)).ids)) == 5
    assert max(map(len, short.encode(SENTENCES, options=TextOptions(max_length=20)).ids)) == 8
    with pytest.raises(ArgumentError, match="the model embeds 100 tokens"):
        Inputs(make_model("llama", vocab_size=100), tokenizer).encode(SENTENCES)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"truncate": 1}, ArgumentTypeError, "truncate=1 must be True or False"),
        ({"max_length": 1}, ArgumentError, "max_length=1 must be at least 2"),
        ({"max_length": 2.5}, ArgumentTypeError, "max_length=2.5 must be a whole number"),
    ],
)
def test_options_are_checked(options, error, message):
    with pytest.raises(error, match=message):
        TextOptions(**options)


@pytest.mark.parametrize("language", ["deu_Latn", "zho_Hans"])
@pytest.mark.parametrize("legacy", [False, True])
def test_nllb_marks_the_language_and_is_as_before(language, legacy):
    tokenizer = nllb(src_lang="eng_Latn", legacy_behaviour=legacy)
    before = tokenizer("a b").tokens()
    assert "eng_Latn" in before
    inputs = Inputs(make_model("llama"), tokenizer)
    assert inputs.language_token(language) == language
    (line,) = tokens_of(tokenizer, inputs.encode(["a b"], language))
    text = ["▁a", "▁b"]
    assert line == ([*text, "</s>", language] if legacy else [language, *text, "</s>"])
    assert tokenizer.src_lang == "eng_Latn"
    assert tokenizer("a b").tokens() == before


def test_the_mark_is_a_special_token():
    inputs = Inputs(make_model("llama"), nllb())
    encoded = inputs.encode(["a b"], "deu_Latn", TextOptions(pool_special_tokens=False))
    assert encoded.pooled == ((False, True, True, False),)
    assert encoded.own_tokens == (2,)
    encoded = inputs.encode(["a b"], "deu_Latn", TextOptions(template="b {text}"))
    assert encoded.pooled == ((False, False, True, True, False),)


def test_the_language_is_put_back_after_an_error():
    tokenizer = nllb(src_lang="deu_Latn")
    inputs = Inputs(make_model("llama"), tokenizer)
    (line,) = tokens_of(tokenizer, inputs.encode(["a b"]))
    assert line[0] == "deu_Latn"  # without a language, it encodes as it is set
    with pytest.raises(ArgumentError, match="no token to pool"):
        inputs.encode([""], "eng_Latn", TextOptions(pool_special_tokens=False))
    assert tokenizer.src_lang == "deu_Latn"


def test_a_tokenizer_without_languages_is_told_none(tokenizer):
    inputs = Inputs(make_model("llama"), tokenizer)
    assert inputs.language_token("deu_Latn") is None
    assert inputs.encode(SENTENCES, "deu_Latn") == inputs.encode(SENTENCES)
    assert not hasattr(tokenizer, "src_lang")


def test_batches_hold_the_limits(tokenizer):
    inputs = Inputs(make_model("llama"), tokenizer)
    lines = inputs.encode(SENTENCES).lines
    assert [len(batch.rows) for batch in inputs.batches(lines, size=2)] == [2, 1]
    assert len(inputs.batches(lines)) == 1
    longest = max(len(ids) for ids, _ in lines)
    for batch in inputs.batches(lines, token_budget=2 * longest, size=5):
        assert batch.pooled.numel() <= 2 * longest
    for limits in ({"size": 0}, {"token_budget": -1}):
        with pytest.raises(ArgumentError, match="must be at least 1"):
            inputs.batches(lines, **limits)


def test_parts_of_a_batch():
    lines = [((5, 6, 7), (False, True, True)), ((8,), (True,)), ((9, 3), (True, True)), ((8,), (True,))]
    (batch,) = make_batches(lines, pad_id=0)
    assert batch.shape == (3, 3)
    assert batch.rows == ((0,), (2,), (1, 3))
    first, second = batch.halves()
    assert (first.rows, second.rows) == (((0,),), ((2,), (1, 3)))
    assert torch.equal(torch.cat([first.pooled, second.pooled]), batch.pooled)
    for name, values in batch.inputs.items():
        assert torch.equal(torch.cat([first.inputs[name], second.inputs[name]]), values)
    twice = batch.take([1, 1], [(0,), (1,)])
    assert isinstance(twice, Batch)
    assert twice.inputs["input_ids"].tolist() == [[9, 3, 0], [9, 3, 0]]
    assert twice.real.tolist() == [[True, True, False]] * 2
    moved = batch.to(torch.device("meta"))
    assert set(moved) == {"input_ids", "attention_mask"}
    assert all(values.device.type == "meta" for values in moved.values())
