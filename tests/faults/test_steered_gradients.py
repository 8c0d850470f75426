"""Under gradient checkpointing a steered model has the gradients that it has without."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.checkpoint import checkpoint

from tests.tiny import enable_checkpointing, make_model
from xalign import Site
from xalign.errors import ModelError
from xalign.model.write import Edit, write

# A forward without gradient, of a model that checkpoints.
pytestmark = pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad=True")

IDS = torch.randint(3, 400, (3, 7), generator=torch.Generator().manual_seed(0))
SITES = (Site("inner", 0), Site("gate", 1), Site("mlp_out", 1), Site("hidden", 1), Site("hidden", "embed"))
EDITS = {Site("inner", 1): Edit("set", 3.0, [1, 5, 9]), Site("gate", 0): Edit("scale", -2.0)}


def model_of(family, use_reentrant):
    model = make_model(family).train()
    if use_reentrant is not None:
        enable_checkpointing(model, use_reentrant)
        model.enable_input_require_grads()
    return model


def gradients(model, forwards, order, edits=EDITS, *, evaluate=False):
    """Gradients after some forwards, and one backward of each in some order, or one of all.

    evaluate: whether a forward without gradient comes in between
    """
    with write(model, edits, positions=lambda tokens: tokens.ids % 3 == 0):
        outputs = [model(input_ids=IDS[rows, :columns], use_cache=False) for rows, columns in forwards]
        losses = [output.logits.pow(2).mean() for output in outputs]
        if evaluate:
            with torch.no_grad():
                model(input_ids=IDS[:, :2], use_cache=False)
        if order is None:
            sum(losses).backward()
        else:
            for number in order:
                losses[number].backward(retain_graph=True)
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


def assert_equal_gradients(family, use_reentrant, forwards, order, edits=EDITS):
    exact = gradients(model_of(family, None), forwards, order, edits)
    found = gradients(model_of(family, use_reentrant), forwards, order, edits, evaluate=True)
    assert len(exact) == len(found)
    assert any(gradient.abs().max() > 1e-4 for gradient in exact)
    for one, other in zip(exact, found, strict=True):
        assert (one - other).abs().max() < 1e-5


TWO = [([0], 7), ([1], 7)]


@pytest.mark.thorough
@pytest.mark.parametrize("use_reentrant", [False, True])
@pytest.mark.parametrize("order", [(0, 1), (1, 0), (0,), (0, 1, 0), None], ids=str)
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_several_forwards_before_a_backward(family, order, use_reentrant):
    """The first forward was run again with the positions of the last."""
    edits = EDITS if family == "llama" else {Site("inner", 1): EDITS[Site("inner", 1)]}
    assert_equal_gradients(family, use_reentrant, TWO, order, edits)


FORWARD = st.tuples(st.lists(st.integers(0, 2), min_size=1, max_size=3), st.integers(2, 7))


@settings(max_examples=12)
@given(
    st.lists(FORWARD, min_size=2, max_size=3),
    st.sampled_from(SITES),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_batches_of_any_shape_in_any_order(forwards, site, use_reentrant, random):
    """Forwards of other shapes failed with a foreign error, or had wrong gradients."""
    order = random.choice([None, *itertools.permutations(range(len(forwards)))])
    if not any((IDS[rows, :columns] % 3 == 0).any() for rows, columns in forwards):
        return
    assert_equal_gradients("llama", use_reentrant, forwards, order, {site: Edit("scale", -2.0)})


def test_several_blocks_checkpointed_together_are_refused():
    """Which forward is run again cannot be told where the gradient enters at no block's end."""
    model = make_model("llama").train()
    stack = model.model.forward
    model.model.forward = lambda **given: checkpoint(stack, use_reentrant=False, **given)
    with pytest.raises(ModelError, match="cannot be told for which of several forwards"):
        gradients(model, TWO, (0, 1))
    alone = gradients(model, [([0], 7), ([0], 7)], (0, 1))  # equal positions in all forwards
    assert len(alone) == len(list(model.parameters()))
