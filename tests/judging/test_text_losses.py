"""Losses and samples: against transformers' own loss, one sentence at a time."""

import copy

import pytest
import torch
from tokenizers import processors
from transformers import BertConfig, BertForMaskedLM

from tests.tiny import make_model, make_tokenizer
from xalign import load_pairs
from xalign.errors import ArgumentError, ModelError
from xalign.judging.sample import sample
from xalign.judging.text_losses import id_losses, text_losses

TEXTS = {code: lines[:6] for code, lines in load_pairs("bundled").texts.items()}


def test_losses_are_those_of_transformers_one_sentence_at_a_time():
    model, tokenizer = make_model("llama"), make_tokenizer()
    lost = text_losses(model, tokenizer, TEXTS, token_budget=200)
    for label, sentences in TEXTS.items():
        for text, (total, count) in zip(sentences, lost[label].tolist(), strict=True):
            ids = torch.tensor([tokenizer(text)["input_ids"]])
            with torch.no_grad():
                assert total / count == pytest.approx(model(input_ids=ids, labels=ids).loss.item(), abs=1e-5)
            assert count == ids.shape[1] - 1


def test_equal_sentences_lose_equally():
    model, tokenizer = make_model("llama"), make_tokenizer()
    lost = id_losses(model, tokenizer, [[1, 5, 6], [1, 7], [1, 5, 6]])
    assert torch.equal(lost[0], lost[2])
    assert not torch.equal(lost[0], lost[1])


def test_a_model_without_a_head():
    with pytest.raises(ModelError, match="BertModel predicts no tokens"):
        text_losses(make_model("bert"), make_tokenizer(), TEXTS)
    for family in (BertForMaskedLM,):
        masked = family(
            BertConfig(vocab_size=500, hidden_size=32, num_hidden_layers=1, num_attention_heads=4)
        )
        with pytest.raises(ModelError, match="predicts no tokens; load a causal model"):
            text_losses(masked, make_tokenizer(), TEXTS)
    with pytest.raises(ModelError, match="BertModel does not generate"):
        sample(make_model("bert"), make_tokenizer(), 2)


def test_samples():
    model, tokenizer = make_model("llama"), make_tokenizer()
    torch.manual_seed(0)
    state = torch.get_rng_state()
    drawn = sample(model, tokenizer, 4, seed=3, generation={"max_new_tokens": 6})
    assert torch.equal(torch.get_rng_state(), state)
    assert not model.training
    assert drawn.ids == sample(model, tokenizer, 4, seed=3, generation={"max_new_tokens": 6}).ids
    assert drawn.ids != sample(model, tokenizer, 4, seed=4, generation={"max_new_tokens": 6}).ids
    assert all(row[0] == tokenizer.bos_token_id and len(row) <= 7 for row in drawn.ids)
    # What ends a continuation is not part of it.
    stop = drawn.ids[0][2]
    ended = sample(model, tokenizer, 4, seed=3, generation={"max_new_tokens": 6, "eos_token_id": stop})
    assert ended.ids[0] == drawn.ids[0][: drawn.ids[0].index(stop)]
    prompted = sample(model, tokenizer, 2, prompt="Good", generation={"max_new_tokens": 3})
    assert prompted.prompt == len(tokenizer("Good")["input_ids"])
    assert not any(text.startswith("Good") for text in prompted.texts)


def test_no_prompt_and_no_beginning():
    tokenizer = make_tokenizer()
    bare = type(tokenizer)(tokenizer_object=tokenizer.backend_tokenizer, pad_token="<pad>")
    with pytest.raises(ArgumentError, match="prompt is empty and the tokenizer has no beginning"):
        sample(make_model("llama"), bare, 2)


def test_sampling_is_plain_whatever_the_checkpoint_says():
    model, tokenizer = make_model("llama"), make_tokenizer()
    plain = sample(model, tokenizer, 4, seed=3, generation={"max_new_tokens": 6}).ids
    model.generation_config.repetition_penalty = 5.0
    model.generation_config.num_beams = 3
    model.generation_config.min_p = 0.9
    assert sample(model, tokenizer, 4, seed=3, generation={"max_new_tokens": 6}).ids == plain


def test_a_prompt_does_not_end_before_it_is_gone_on_with():
    tokenizer = copy.deepcopy(make_tokenizer())
    bare = tokenizer("Good morning")["input_ids"]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    assert tokenizer("Good morning")["input_ids"] == [*bare, 2]
    drawn = sample(make_model("llama"), tokenizer, 1, prompt="Good morning", generation={"max_new_tokens": 2})
    assert drawn.ids[0][: drawn.prompt] == bare


def test_no_other_device_is_seeded(monkeypatch):
    model = make_model("llama")
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("every device was seeded"))
    sample(model, make_tokenizer(), 1, seed=3, generation={"max_new_tokens": 2})
