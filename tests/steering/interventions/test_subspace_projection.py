"""SentDebias: the subspace by another solver, what is left along it, hooks by hand, and what is refused."""

import numpy as np
import pytest
import torch

from tests.steering.interventions import plain
from tests.steering.interventions.plain import FAMILIES, PROMPTS, ids_of, model_of, padded
from tests.tiny import WIDTH, make_model, make_tokenizer
from xalign import steer
from xalign.errors import ArgumentError, ArgumentTypeError, UnitsError
from xalign.model.architectures.sites import Site
from xalign.steering import attribute_subspace, subspace_projection

SIDES = {
    "eng_Latn": [("He reads a book.", "She reads a book."), ("The man runs.", "The woman runs.")],
    "deu_Latn": [("Er liest ein Buch.", "Sie liest ein Buch."), ("Der Mann läuft.", "Die Frau läuft.")],
}


def principal(pairs, rank):
    """Eigenvectors of the scatter of both sides less the mean of each pair, by numpy."""
    centred = np.concatenate([pairs[:, 0] - pairs.mean(1), pairs[:, 1] - pairs.mean(1)])
    values, vectors = np.linalg.eigh(centred.T @ centred)
    return vectors[:, np.argsort(values)[::-1][:rank]]


def means(model, family, layer):
    """[pair, side, width] of the mean states behind a block, by hooks of torch."""
    look = ("output", layer)

    def state(text):
        return plain.run(model, family, ids_of(text), looks=[look])[1][look].double().mean(0).numpy()

    return np.array([[state(text) for text in pair] for pairs in SIDES.values() for pair in pairs])


def test_the_subspace_is_that_of_pairs_centred_by_their_own_means():
    pairs = np.random.RandomState(0).randn(20, 2, 6) + np.array([[[1.0], [-1.0]]])
    found = attribute_subspace(torch.tensor(pairs[:, 0] - pairs[:, 1]), 3).numpy()
    assert np.allclose(found.T @ found, np.eye(3), atol=1e-12)
    assert np.allclose(found @ found.T, principal(pairs, 3) @ principal(pairs, 3).T, atol=1e-9)
    assert ((pairs[:, 0] - pairs[:, 1]).mean(0) @ found > 0).all()  # the sign


def test_the_common_difference_is_found_and_not_centred_away():
    shared = np.array([0.0, 3.0, 0.0, 0.0])
    differences = shared + 0.1 * np.random.RandomState(1).randn(30, 4)
    (found,) = attribute_subspace(torch.tensor(differences)).numpy().T
    assert found @ shared / 3 > 0.99


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("rank", "strength"), [(1, 1.0), (2, 0.5)])
def test_what_it_does_is_what_hooks_do_by_hand(family, rank, strength):
    model = model_of(family)
    what = subspace_projection(model, make_tokenizer(), SIDES, "1.hidden", rank=rank)
    basis = torch.tensor(principal(means(model, family, 1), rank))
    with steer(model, what, strength=strength), torch.no_grad():
        batch = padded(PROMPTS, "right")
        steered = model(**batch).logits

    def edit(values):
        return (values.double() - strength * values.double() @ basis @ basis.T).float()

    for row, prompt in enumerate(PROMPTS):
        expected, _ = plain.run(model, family, ids_of(prompt), {("output", 1): edit})
        untouched, _ = plain.run(model, family, ids_of(prompt))
        assert torch.allclose(steered[row, : len(expected)], expected, atol=1e-4)
        assert not torch.allclose(untouched, expected, atol=1e-3)


def test_nothing_is_left_along_the_subspace_and_the_rest_stays():
    model = model_of("llama")
    what = subspace_projection(model, make_tokenizer(), SIDES, ["0.hidden", "1.hidden"], rank=2)
    values = torch.randn(1, 3, WIDTH, generator=torch.Generator().manual_seed(0))
    for site, edit in what.edits().items():
        basis = what.bases[site]
        new = edit.resolved.fn(values, edit.value)
        assert float((new @ basis).abs().max()) < 1e-5
        assert torch.allclose(values - new, values @ basis @ basis.T, atol=1e-5)
    for site, edit in what.edits(0.0).items():
        assert torch.equal(edit.value[0], torch.eye(WIDTH)), site


def test_the_control_has_the_rank_and_the_sites():
    what = subspace_projection(model_of("llama"), make_tokenizer(), SIDES, "1.hidden", rank=2)
    control, again, other = what.random(0), what.random(0), what.random(1)
    site = Site("hidden", 1)
    assert torch.allclose(control.bases[site].T @ control.bases[site], torch.eye(2), atol=1e-5)
    assert torch.equal(control.bases[site], again.bases[site])
    assert not torch.allclose(control.bases[site], other.bases[site])
    assert not torch.allclose(control.bases[site], what.bases[site])
    assert control.provenance["method"] == "random"


def test_what_is_refused():
    model, tokenizer = model_of("llama"), make_tokenizer()
    with pytest.raises(ArgumentError, match="rank=5 must be at most 4"):
        subspace_projection(model, tokenizer, SIDES, "1.hidden", rank=5)
    with pytest.raises(ArgumentError, match="counterfactuals has no language"):
        subspace_projection(model, tokenizer, {}, "1.hidden")
    with pytest.raises(ArgumentError, match=r"counterfactuals\['eng_Latn'\] is empty"):
        subspace_projection(model, tokenizer, {"eng_Latn": []}, "1.hidden")
    with pytest.raises(ArgumentError, match="a pair without a difference"):
        subspace_projection(model, tokenizer, {"eng_Latn": [("He", "He")]}, "1.hidden")
    with pytest.raises(ArgumentTypeError, match="must hold pairs of sentences"):
        subspace_projection(model, tokenizer, {"eng_Latn": ["He", "She"]}, "1.hidden")
    with pytest.raises(ArgumentTypeError, match="must map languages"):
        subspace_projection(model, tokenizer, [("He", "She")], "1.hidden")
    with pytest.raises(ArgumentError, match="NaN"):
        attribute_subspace(torch.full((3, 4), torch.nan))
    what = subspace_projection(model, tokenizer, SIDES, "1.hidden")
    with (
        pytest.raises(UnitsError, match="do not fit this one: n_layers 3 there, 2 here"),
        steer(make_model("llama", num_hidden_layers=2), what),
    ):
        pass
