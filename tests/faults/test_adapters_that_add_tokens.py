"""Prompt-tuned and LN-tuned models are measured and visited: their own tokens are not the sentence's."""

import copy

import pytest
import torch
from peft import (
    LNTuningConfig,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    get_peft_model,
)

from tests.tiny import WIDTH, make_model, make_tokenizer
from xalign import AlignmentObjective, Site, load_pairs, map_model, measure, visit
from xalign.model.capture import capture
from xalign.model.inputs import context_of
from xalign.model.write import Edit, write

pytestmark = pytest.mark.filterwarnings("ignore")
PAIRS = load_pairs("bundled", ["deu_Latn"], n=6)
BATCH = {"input_ids": torch.arange(4, 16).reshape(2, 6), "attention_mask": torch.ones(2, 6, dtype=torch.long)}
OWN = 3
CONFIGS = {
    "prompt": PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=OWN),
    "encoder": PromptEncoderConfig(task_type="CAUSAL_LM", num_virtual_tokens=OWN, encoder_hidden_size=16),
    "prefix": PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=OWN),
    "ln": LNTuningConfig(task_type="CAUSAL_LM"),
}


def tuned(kind, family="llama"):
    torch.manual_seed(0)
    config = copy.deepcopy(CONFIGS[kind])  # PEFT fills in what it finds out about the model
    if kind == "ln" and family == "gpt2":
        config.target_modules = ["ln_1", "ln_f"]
    return get_peft_model(make_model(family), config).eval()


@pytest.mark.thorough
@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("kind", CONFIGS)
def test_states_are_those_of_the_sentence(kind, family):
    """Prompt-tuned models were refused, with the advice to leave out what was to be measured."""
    model = tuned(kind, family)
    if kind == "ln":
        # Without a change an LN-tuned model is the model itself.
        plain = measure(make_model(family), make_tokenizer(), PAIRS)
        report = measure(model, make_tokenizer(), PAIRS)
        assert [row["value"] for row in report.to_rows()] == [row["value"] for row in plain.to_rows()]
        return
    with torch.no_grad(), capture(model, [Site("hidden", "final")]) as states:
        model(**BATCH)
    inner = model.get_base_model()
    with torch.no_grad():
        prompts = model.get_prompt(batch_size=2)
        embedded = inner.get_input_embeddings()(BATCH["input_ids"])
        ones = torch.ones(2, OWN + 6, dtype=torch.long)
        if kind == "prefix":
            given = {"past_key_values": prompts, "inputs_embeds": embedded}
        else:
            given = {"inputs_embeds": torch.cat([prompts, embedded], dim=1)}
        whole = inner(attention_mask=ones, output_hidden_states=True, **given).hidden_states[-1]
    assert states[Site("hidden", "final")].shape == (2, 6, WIDTH)
    assert torch.allclose(states[Site("hidden", "final")], whole[:, -6:], atol=1e-6)
    assert 0 <= measure(model, make_tokenizer(), PAIRS).score("nasca") <= 1


@pytest.mark.parametrize("kind", ["prompt", "encoder"])
def test_writes_change_the_sentence_alone(kind):
    """A write counted the model's own tokens as the first ones of the sentence."""
    model = tuned(kind)
    seen = []
    with (
        torch.no_grad(),
        write(model, {Site("inner", 1): Edit("zero")}, positions="prompt", trace=True) as done,
        visit(model, {Site("inner", 1): lambda values: seen.append(values.clone())}),
    ):
        model(**BATCH)
    assert (done.tokens, seen[0].shape[1]) == (12, 6)
    assert seen[0].abs().max() == 0
    raw = []
    with torch.no_grad(), write(model, {Site("inner", 1): Edit("zero")}):
        module = map_model(model).place(Site("inner", 1)).module
        handle = module.register_forward_pre_hook(lambda module, args: raw.append(args[0]))
        model(**BATCH)
        handle.remove()
    assert raw[0].shape[1] == OWN + 6
    assert raw[0][:, :OWN].abs().min() > 0  # its own tokens are as they were
    assert raw[0][:, OWN:].abs().max() == 0


def test_a_prompt_is_aligned_through():
    """Training on such a model ended at the first pair."""
    model = tuned("prompt").train()
    pairs = load_pairs("bundled", ["deu_Latn"])
    objective = AlignmentObjective(model, make_tokenizer(), pairs, layer=1, batch_size=4)
    objective(0).backward()
    (prompt,) = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert prompt.grad.abs().max() > 0


def test_the_context_is_shorter_by_the_prompt():
    """A sentence that fills the context ran out of positions."""
    assert context_of(tuned("prompt", "gpt2"), make_tokenizer()) == 512 - OWN
