import pytest
import torch

from tests.tiny import make_model, make_tokenizer
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.model.batches import make_batches
from xalign.model.encode import encode
from xalign.model.inputs import context_of, pad_id_of

SENTENCES = ["Have you fed the cat?", "No.", "Whose umbrella is this?", "No."]


def own_text(tokenizer, encoded, row):
    ids = [token for token, pooled in zip(encoded.ids[row], encoded.pooled[row], strict=True) if pooled]
    return tokenizer.decode(ids)


def test_plain(tokenizer):
    encoded = encode(tokenizer, SENTENCES)
    assert encoded.ids[0] == tuple(tokenizer(SENTENCES[0])["input_ids"])
    assert encoded.ids[0][0] == tokenizer.bos_token_id
    assert all(encoded.pooled[0])
    assert encoded.own_tokens[0] == len(encoded.ids[0]) - 1
    without = encode(tokenizer, SENTENCES, pool_special_tokens=False)
    assert without.ids == encoded.ids
    assert without.pooled[0] == (False, *[True] * encoded.own_tokens[0])


@pytest.mark.parametrize("padding_side", ["left", "right"])
def test_the_tokenizer_is_not_touched(padding_side):
    tokenizer = make_tokenizer(padding_side)
    tokenizer.model_max_length, before = 4, tokenizer.padding_side
    encode(tokenizer, SENTENCES)
    assert (tokenizer.padding_side, tokenizer.model_max_length) == (before, 4)
    tokenizer.model_max_length = 10**30


@pytest.mark.parametrize(
    "template", ["query: {text} </end>", lambda text, language: f"[{language}] {text} {{braces}}", "{text}"]
)
def test_only_the_sentence_is_pooled(tokenizer, template):
    encoded = encode(tokenizer, SENTENCES, language="eng_Latn", template=template)
    for row, sentence in enumerate(SENTENCES):
        assert own_text(tokenizer, encoded, row).strip() == sentence
    pooled = encode(tokenizer, SENTENCES, language="eng_Latn", template=template, template_pooled=True)
    assert pooled.ids == encoded.ids
    assert all(all(mask) for mask in pooled.pooled)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("query:", r"must hold \{text\} exactly once"),
        ("{text} {text}", r"must hold \{text\} exactly once"),
        (lambda text, language: "something else", "holds the sentence exactly once"),
        (lambda text, language: None, "holds the sentence exactly once"),
        (3, "must be a string or a function"),
    ],
)
def test_bad_templates(tokenizer, template, message):
    with pytest.raises((ArgumentError, ArgumentTypeError), match=message):
        encode(tokenizer, SENTENCES, template=template)


def test_too_long(tokenizer):
    lengths = [len(ids) for ids in encode(tokenizer, SENTENCES).ids]
    limit = max(lengths) - 1
    with pytest.raises(
        ArgumentError, match=rf"1 sentence\(s\) in eng_Latn .* context of {limit}: umbrella \({limit + 1}\)"
    ):
        encode(
            tokenizer, SENTENCES, language="eng_Latn", context=limit, ids=["cat", "no", "umbrella", "again"]
        )
    cut = encode(tokenizer, SENTENCES, context=limit, truncate=True)
    assert [len(ids) for ids in cut.ids] == [min(length, limit) for length in lengths]


def test_unknown_tokens_are_counted_special_ones_are_not():
    tokenizer = make_tokenizer()
    before = tokenizer.unk_token
    tokenizer.unk_token = "<s>"  # as in OPT, whose unknown token is also the one in front of every sentence
    try:
        assert encode(tokenizer, SENTENCES).unknown_tokens == (0, 0, 0, 0)
        assert encode(tokenizer, ["a <s> b"]).unknown_tokens == (1,)
    finally:
        tokenizer.unk_token = before


def test_nothing_to_pool(tokenizer):
    with pytest.raises(ArgumentError, match="have no token to pool"):
        encode(tokenizer, ["ok", ""], pool_special_tokens=False)


def test_batches(tokenizer):
    encoded = encode(tokenizer, SENTENCES)
    batches = make_batches(encoded.lines, token_budget=10_000, pad_id=7)
    assert len(batches) == 1
    batch = batches[0]
    assert batch.inputs["input_ids"].shape[0] == 3  # "No." is run once for both of its rows
    assert sorted(row for rows in batch.rows for row in rows) == [0, 1, 2, 3]
    for line, rows in enumerate(batch.rows):
        length = len(encoded.ids[rows[0]])
        assert tuple(batch.inputs["input_ids"][line, :length].tolist()) == encoded.ids[rows[0]]
        assert (batch.inputs["input_ids"][line, length:] == 7).all()
        assert batch.inputs["attention_mask"][line].tolist() == [1] * length + [0] * (
            batch.inputs["input_ids"].shape[1] - length
        )
        assert torch.equal(batch.pooled[line], batch.inputs["attention_mask"][line].bool())


@pytest.mark.parametrize("budget", [1, 20, 30])
def test_the_budget_holds(tokenizer, budget):
    encoded = encode(tokenizer, SENTENCES)
    batches = make_batches(encoded.lines, token_budget=budget, pad_id=0)
    assert sorted(row for batch in batches for rows in batch.rows for row in rows) == [0, 1, 2, 3]
    for batch in batches:
        assert batch.inputs["input_ids"].numel() <= budget or len(batch.inputs["input_ids"]) == 1
    with pytest.raises(ArgumentError, match="token_budget=0 must be"):
        make_batches(encoded.lines, token_budget=0, pad_id=0)


def test_pad_id_and_context():
    tokenizer = make_tokenizer()
    assert pad_id_of(tokenizer) == tokenizer.pad_token_id
    for family, context in (("llama", 512), ("roberta", 511), ("bloom", None)):
        changes = {} if family != "bloom" else {"max_position_embeddings": None}
        assert context_of(make_model(family, **changes), tokenizer) == context
    tokenizer.model_max_length = 100
    try:
        assert context_of(make_model("llama"), tokenizer) == 100
    finally:
        tokenizer.model_max_length = 10**30
