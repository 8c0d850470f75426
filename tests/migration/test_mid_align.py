"""mid-align's loss, written by hand on hidden states, beside `AlignmentObjective` with its settings."""

import pytest
import torch
from torch.nn.functional import cosine_similarity

from tests.tiny import make_model, make_tokenizer
from tests.training.runs import gradients_of, relative_difference, training_pairs
from xalign import AlignmentObjective

BLOCK = 1  # --additional_loss_layer 2
SETTINGS = {"loss": "contrastive", "layer": BLOCK, "temperature": 0.1, "direction": "to_pivot"}
SETTINGS |= {"centre": False, "mask_duplicates": False, "batch_size": 8}


def pooled(model, text):
    """The mean over all tokens, the first special one too, of what block BLOCK gives before any norm."""
    ids = torch.tensor([make_tokenizer()(text)["input_ids"]])
    return model(input_ids=ids, output_hidden_states=True).hidden_states[BLOCK + 1][0].mean(dim=0)


def by_hand(objective, one_sided):
    """Each foreign sentence picks its English one out of the micro-batch: the mean of −log softmax."""
    model, language, english = objective.model, [], []
    for code, row in objective.pairs_of(0):
        language.append(pooled(model, objective.pairs[code].sentences[row]))
        english.append(pooled(model, objective.pairs[code].pivot_sentences[row]))
        if one_sided:
            english[-1] = english[-1].detach()
    terms = []
    for number, anchor in enumerate(language):
        scores = torch.stack([cosine_similarity(anchor, one, dim=0) for one in english]) / 0.1
        terms.append(scores.logsumexp(dim=0) - scores[number])
    return torch.stack(terms).mean()


@pytest.mark.parametrize("one_sided", [False, True])
def test_loss_and_gradient_are_those_of_the_fork(one_sided):
    objective = AlignmentObjective(
        make_model("llama"), make_tokenizer(), training_pairs(), detach_pivot=one_sided, **SETTINGS
    )
    loss = objective(0)
    loss.backward()
    own = gradients_of(objective.model)
    objective.model.zero_grad()
    expected = by_hand(objective, one_sided)
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert loss.item() > 0.1  # there is something to pull at
    assert relative_difference(own, gradients_of(objective.model)) < 1e-4
