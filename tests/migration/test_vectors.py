"""repeng and steering-vectors, written by hand on hidden states, beside `language_vectors` and `steer`.

Neither can be installed beside the versions of transformers and numpy that the other tests run with.
"""

import pytest
import torch
from sklearn.decomposition import PCA

from tests.tiny import LAYERS, make_model, make_tokenizer
from xalign import LanguageVector, Site, load_pairs, steer
from xalign.finding import language_vectors

GERMAN = load_pairs("bundled", ["deu_Latn"], n=10)["deu_Latn"]
TEXTS = {"deu_Latn": list(GERMAN.sentences), "eng_Latn": list(GERMAN.pivot_sentences)}
SITES = [f"{block}.hidden" for block in range(LAYERS)]


@torch.no_grad()
def last_states(normed):
    """Per block the states of the last token: [German or English, block, sentence, width].

    The last block's are taken before the final norm, as a hook on the block sees them, or after it, as
    `hidden_states` gives them.
    """
    model, tokenizer, found = make_model("llama"), make_tokenizer(), []
    for sentences in TEXTS.values():
        rows = []
        for text in sentences:
            seen = []
            handle = model.model.layers[-1].register_forward_hook(
                lambda *given, seen=seen: seen.append(given[2])
            )
            ids = torch.tensor([tokenizer(text)["input_ids"]])
            states = list(model(input_ids=ids, output_hidden_states=True).hidden_states[1:])
            handle.remove()
            if not normed:
                states[-1] = seen[0] if isinstance(seen[0], torch.Tensor) else seen[0][0]
            rows.append(torch.stack([one[0, -1] for one in states]))
        found.append(torch.stack(rows, dim=1))
    return torch.stack(found).double()


def find(aggregate, sites=SITES):
    found = language_vectors(
        make_model("llama"), make_tokenizer(), TEXTS, sites, aggregate=aggregate, against="eng_Latn"
    )
    return {site: vector.double() for site, vector in found["deu_Latn"].vectors.items()}


def test_steering_vectors_mean_and_pca():
    german, english = last_states(normed=False)
    for aggregate in ("mean", "pca"):
        for block, vector in enumerate(find(aggregate).values()):
            differences = german[block] - english[block]
            expected = differences.mean(dim=0)
            if aggregate == "pca":  # not centred, length 1, pointing where most of the differences do
                both = torch.cat([differences, -differences]).T
                expected = torch.linalg.svd(both).U[:, 0]
                expected = expected * torch.sign((differences @ expected).mean())
            assert torch.allclose(vector, expected, atol=1e-4), (aggregate, block)


@pytest.mark.parametrize("method", ["pca_diff", "pca_center"])
def test_repeng(method):
    """Its last block is our `final`: it reads `hidden_states`, whose last entry has gone through the norm."""
    german, english = last_states(normed=True)
    sites = [*SITES[:-1], "final.hidden"]
    found = find({"pca_diff": "pca_diff", "pca_center": "pca"}[method], sites)
    for block, vector in enumerate(found.values()):
        rows = german[block] - english[block]
        if method == "pca_center":
            rows = torch.cat([rows, -rows]) / 2
        expected = torch.from_numpy(PCA(1).fit(rows.numpy()).components_[0])
        higher = (german[block] @ expected > english[block] @ expected).double().mean()
        expected = expected if higher >= 0.5 else -expected
        assert torch.allclose(vector, expected, atol=1e-3), block


@pytest.mark.parametrize("normalize", [False, True])
@torch.no_grad()
def test_logits_are_those_of_adding_the_vector_behind_each_block(normalize):
    """What both do at every token: h + c v; with `normalize=True` each token keeps its norm (repeng)."""
    model, ids = make_model("llama"), torch.tensor([make_tokenizer()("Guten Morgen.")["input_ids"]])
    directions = torch.randn(LAYERS, model.config.hidden_size, generator=torch.Generator().manual_seed(0))
    plain = model(input_ids=ids).logits

    def add(direction):
        def hook(module, given, output):
            states = output if isinstance(output, torch.Tensor) else output[0]
            changed = states + 1.5 * direction
            if normalize:
                changed = changed / changed.norm(dim=-1, keepdim=True) * states.norm(dim=-1, keepdim=True)
            return changed if isinstance(output, torch.Tensor) else (changed, *output[1:])

        return hook

    handles = [
        block.register_forward_hook(add(direction))
        for block, direction in zip(model.model.layers, directions, strict=True)
    ]
    expected = model(input_ids=ids).logits
    for handle in handles:
        handle.remove()
    vector = LanguageVector("own", {Site("hidden", block): one for block, one in enumerate(directions)})
    with steer(model, vector, operator="add_keep_norm" if normalize else "add", strength=1.5):
        steered = model(input_ids=ids).logits
    assert (expected - plain).abs().max() > 0.1
    assert torch.allclose(steered, expected, atol=1e-4)
    assert torch.equal(model(input_ids=ids).logits, plain)
