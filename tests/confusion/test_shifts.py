"""Shifts between two models, beside states that transformers itself returns."""

import pytest
import torch

from tests.tiny import make_model, make_tokenizer
from xalign.confusion import Prompt, answer_shifts
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.model.architectures.sites import Site

PROMPTS = [Prompt("Guten Morgen", "de"), Prompt("Es regnet heute", "de"), Prompt("Доброе утро", "ru")]


def by_hand(model, reference, tokenizer, prompts, tokens):
    """Mean differences of hidden states where the reference's greedy answer is chosen."""
    differences = []
    with torch.no_grad():
        for prompt in prompts:
            ids = tokenizer(prompt.text)["input_ids"]
            for _ in range(tokens):
                given = torch.tensor([ids])
                theirs = reference(given, output_hidden_states=True)
                ours = model(given, output_hidden_states=True)
                differences.append(theirs.hidden_states[2][0, -1] - ours.hidden_states[2][0, -1])
                ids = [*ids, int(theirs.logits[0, -1].argmax())]
                assert ids[-1] != tokenizer.eos_token_id
    return torch.stack(differences).double().mean(dim=0).float()


@pytest.mark.parametrize("tokens", [1, 4])
def test_shifts_are_means_of_differences(tokens):
    model, reference, tokenizer = make_model("llama", 0), make_model("llama", 1), make_tokenizer()
    found = answer_shifts(model, reference, tokenizer, PROMPTS, "1.hidden", tokens=tokens, batch_size=2)
    assert list(found) == ["deu_Latn", "rus_Cyrl"]
    for code, prompts in (("deu_Latn", PROMPTS[:2]), ("rus_Cyrl", PROMPTS[2:])):
        expected = by_hand(model, reference, tokenizer, prompts, tokens)
        torch.testing.assert_close(found[code].vectors[Site("hidden", 1)], expected, rtol=1e-4, atol=1e-5)


def test_what_is_refused():
    model, tokenizer = make_model("llama"), make_tokenizer()
    with pytest.raises(ArgumentError, match="reference must have the shape of the model"):
        answer_shifts(model, make_model("llama", num_hidden_layers=2), tokenizer, PROMPTS)
    with pytest.raises(ArgumentTypeError, match="reference must be a model, not str"):
        answer_shifts(model, "base", tokenizer, PROMPTS)
    with pytest.raises(ArgumentError, match="tokens=0"):
        answer_shifts(model, model, tokenizer, PROMPTS, tokens=0)
