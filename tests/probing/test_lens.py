"""The logit lens: against norm and head called by hand, the model's own prediction, and what is refused."""

import pytest
import torch
from torch import nn

from tests.tiny import LAYERS, make_model, make_tokenizer
from xalign import map_model
from xalign.errors import ArgumentError, ArgumentTypeError, ModelError
from xalign.probing import latent_language, logit_lens

PROMPTS = ["It rains today and", "Good night", "Where is the dog that sleeps in the", "Good night"]
TAILS = {"llama": ("model.norm", "lm_head"), "gpt2": ("transformer.ln_f", "lm_head")}


def predictions(model, prompts=PROMPTS, **options):
    found = {}
    for some in logit_lens(model, make_tokenizer(), prompts, **options):
        assert some.log_probability.exp().sum(dim=-1) == pytest.approx(torch.ones(1).item(), abs=1e-4)
        found |= dict(zip(some.rows, some.log_probability, strict=True))
    return [found[row] for row in range(len(prompts))], some.layers


def states(model, text):
    """The residual stream at the last token, from transformers itself."""
    with torch.no_grad():
        out = model(**make_tokenizer()(text, return_tensors="pt"), output_hidden_states=True)
    return [one[0, -1] for one in out.hidden_states], out.logits[0, -1]


@pytest.mark.parametrize("family", TAILS)
def test_it_is_norm_and_head_of_each_state(family):
    """Within 1e-4 nats; the last hidden state of transformers is the norm's output already."""
    model = make_model(family)
    norm, head = (model.get_submodule(path) for path in TAILS[family])
    found, layers = predictions(model)
    assert layers == ("embed", *map(str, range(LAYERS)))
    for text, log_probability in zip(PROMPTS, found, strict=True):
        streams, logits = states(model, text)
        with torch.no_grad():
            by_hand = [head(norm(one)).log_softmax(dim=-1) for one in streams[:-1]]
        assert torch.allclose(log_probability[:-1], torch.stack(by_hand), atol=1e-4)
        assert torch.allclose(log_probability[-1], logits.log_softmax(dim=-1), atol=1e-4)
    assert not torch.allclose(found[0][0], found[0][1], atol=0.1)  # layers differ


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("gemma2", {"final_logit_softcapping": 3.0}),  # logits are capped
        ("opt", {"word_embed_proj_dim": 16}),  # a projection stands before the head
        ("gpt_neox", {}),
        ("bloom", {}),
    ],
)
def test_the_last_block_gives_the_models_own_prediction(family, changes):
    model = make_model(family, **changes)
    found, _ = predictions(model)
    for text, log_probability in zip(PROMPTS, found, strict=True):
        assert torch.allclose(log_probability[-1], states(model, text)[1].log_softmax(dim=-1), atol=1e-4)


def test_batches_and_chunks_change_nothing(monkeypatch):
    model = make_model("llama")
    together, _ = predictions(model)
    alone, _ = predictions(model, token_budget=1)
    monkeypatch.setattr("xalign.probing.lens._CHUNK", 1)
    in_chunks, _ = predictions(model)
    for one, two, three in zip(together, alone, in_chunks, strict=True):
        assert torch.allclose(one, two, atol=1e-4) and torch.allclose(one, three, atol=1e-4)
    assert torch.equal(together[1], together[3])


def test_what_the_tokenizer_adds_behind_a_prompt_is_left_out():
    from tokenizers import processors

    model, tokenizer = make_model("llama"), make_tokenizer.__wrapped__()
    (without,) = logit_lens(model, tokenizer, PROMPTS[:1])
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    assert tokenizer("a")["input_ids"][-1] == 2
    (found,) = logit_lens(model, tokenizer, PROMPTS[:1])
    assert torch.allclose(found.log_probability, without.log_probability, atol=1e-5)


def test_the_map_knows_the_head():
    model = make_model("gpt_neox")
    head, path = map_model(model).head
    assert head is model.get_output_embeddings() and path == "lm_head"
    with pytest.raises(ModelError, match="LlamaModel predicts no tokens; load a causal model with its"):
        map_model(make_model("llama").model).head  # noqa: B018


def test_models_that_are_not_causal_are_refused():
    encoder = make_model("bert")
    for call in (
        lambda: next(logit_lens(encoder, make_tokenizer(), PROMPTS)),
        lambda: latent_language(encoder, make_tokenizer(), PROMPTS, {"en": ["a b"], "de": ["c d"]}),
    ):
        with pytest.raises(ModelError, match="BertModel predicts no tokens; load a causal model"):
            call()
    from transformers import BertForMaskedLM

    with pytest.raises(ModelError, match="BertForMaskedLM is no causal language model.*AutoModelForCausalLM"):
        next(logit_lens(BertForMaskedLM(encoder.config), make_tokenizer(), PROMPTS))


def test_a_prediction_that_is_made_of_more_than_the_last_block_is_refused():
    model = make_model("llama")

    class Twice(nn.Module):  # what it says depends on how many tokens there are
        def __init__(self, head):
            super().__init__()
            self.head = head

        @property
        def weight(self):
            return self.head.weight

        def forward(self, states):
            return self.head(states) * (2 if self.long else 1)

    model.lm_head = Twice(model.lm_head)
    model.model.register_forward_pre_hook(
        lambda _, args, given: setattr(model.lm_head, "long", given["input_ids"].shape[1] > 1),
        with_kwargs=True,
    )
    with pytest.raises(ModelError, match="does not make its prediction of the last block's output alone"):
        next(logit_lens(model, make_tokenizer(), PROMPTS))


def test_the_model_is_left_as_it_was():
    model = make_model("llama").train()
    before = {name: one.clone() for name, one in model.state_dict().items()}
    state = torch.get_rng_state()
    predictions(model)
    assert model.training and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one, before[name]) for name, one in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("prompts", "error"), [("a text", ArgumentTypeError), ([], ArgumentError), (["a", " "], ArgumentError)]
)
def test_prompts_are_texts(prompts, error):
    with pytest.raises(error, match="prompts"):
        next(logit_lens(make_model("llama"), make_tokenizer(), prompts))
