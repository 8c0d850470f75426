"""Contrastive activation addition: the figures of the reference, which token is read, where it is added."""

import numpy as np
import pytest
import torch

from tests.steering.interventions import plain
from tests.steering.interventions.plain import FAMILIES, PROMPTS, TEXTS, ids_of, model_of, padded
from tests.tiny import make_model, make_tokenizer
from xalign import Site, steer
from xalign.errors import ArgumentError, ArgumentTypeError, ModelError, UnitsError
from xalign.steering import contrastive_addition, from_last_prompt
from xalign.steering.interventions.contrastive_addition import contrast

EXACT = 1e-5
SITE, LAYER = Site("hidden", 1), 1
GERMAN, ENGLISH = TEXTS["deu_Latn"], TEXTS["eng_Latn"]


def test_the_figures_of_the_reference():
    """§7.1 of the specification: the mean of paired differences, six decimals."""
    positive = np.random.RandomState(10).randn(7, 5) + 0.6
    negative = np.random.RandomState(11).randn(7, 5)
    found = contrast(torch.tensor(positive), torch.tensor(negative))
    assert np.allclose(found, [0.675484, 0.525585, 0.248206, 1.294001, 1.394101], atol=1e-6)


def vector_of(model, family, token):
    sides = [
        torch.stack(
            [
                plain.run(model, family, ids_of(text), looks=[("output", LAYER)])[1]["output", LAYER][token]
                for text in texts
            ]
        )
        for texts in (GERMAN, ENGLISH)
    ]
    return (sides[0].double() - sides[1].double()).mean(dim=0).float()


def added_from(column, vector):
    """An edit of all columns from one on."""

    def edit(values):
        values[column:] += vector
        return values

    return edit


def made(model, **options):
    return contrastive_addition(model, make_tokenizer(), GERMAN, ENGLISH, SITE, **options)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("token", [-1, -2, 1])
def test_the_vector_is_read_at_the_named_token(family, token):
    model = model_of(family)
    found = made(model, token=token).edits(2.0)[SITE].value
    assert torch.allclose(found, 2 * vector_of(model, family, token), atol=EXACT)


def test_a_token_is_named_by_its_text_or_by_a_function():
    model, tokenizer = model_of("llama"), make_tokenizer()
    by_place = made(model, token=-1).edits()[SITE].value
    by_text = made(model, token=".").edits()[SITE].value
    assert all(tokenizer.decode([ids_of(text)[-1]]) == "." for text in (*GERMAN, *ENGLISH))
    assert torch.equal(by_text, by_place)
    by_function = made(model, token=lambda ids: len(ids) - 2).edits()[SITE].value
    assert torch.equal(by_function, made(model, token=-2).edits()[SITE].value)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("positions", "first"), [("generated", 0), (from_last_prompt, -1)])
def test_it_is_added_after_the_prompt(family, positions, first):
    """Batched, padded, with a cache; against single sequences without any of these."""
    model, strength = model_of(family), 3.0
    what = made(model, positions=positions)
    vector = vector_of(model, family, -1)
    with steer(model, what, strength=strength):
        logits, tokens = plain.generated(model, padded(PROMPTS))
    for row, prompt in enumerate(PROMPTS):
        ids = ids_of(prompt)
        edits = {("output", LAYER): added_from(len(ids) + first, strength * vector)}
        expected = plain.continued(model, family, ids, tokens[row], edits)
        assert torch.allclose(logits[row], expected, atol=10 * EXACT)
    before, _ = plain.generated(model, padded(PROMPTS))
    assert torch.equal(logits[:, 0], before[:, 0]) is (positions == "generated")
    assert not torch.allclose(logits[:, 1:], before[:, 1:], atol=1e-2)


def test_several_sites_and_the_control():
    model = model_of("llama")
    what = contrastive_addition(
        model, make_tokenizer(), GERMAN, ENGLISH, ["0.hidden", "2.hidden", "1.inner"], label="deu_Latn"
    )
    assert what.name == "contrastive_addition deu_Latn"
    given, drawn = ([edit.value for edit in one.edits().values()] for one in (what, what.random(2)))
    assert list(what.random(2).edits()) == list(what.edits())
    for one, other in zip(given, drawn, strict=True):
        assert torch.allclose(one.norm(), other.norm(), rtol=1e-5)
        assert torch.cosine_similarity(one, other, dim=0).abs() < 0.7
    angle = [torch.cosine_similarity(pair[0], pair[1], dim=0) for pair in (given, drawn)]
    assert torch.allclose(*angle, atol=1e-5)
    assert what.random(2).positions == "generated"


def test_in_bfloat16():
    model = make_model("llama").to(torch.bfloat16)
    with steer(model, made(model), strength=2.0) as done:
        logits, _ = plain.generated(model, padded(PROMPTS))
    assert done.tokens
    assert logits.isfinite().all()


def test_what_is_refused():
    model, tokenizer = model_of("llama"), make_tokenizer()
    with pytest.raises(ArgumentError, match="positive has 4 prompts and negative 3; give pairs"):
        contrastive_addition(model, tokenizer, GERMAN, ENGLISH[:3], SITE)
    with pytest.raises(ArgumentTypeError, match="negative='It rains.' must be a list"):
        contrastive_addition(model, tokenizer, GERMAN, "It rains.", SITE)
    with pytest.raises(ArgumentError, match="token=40 is outside a prompt of"):
        made(model, token=40)
    with pytest.raises(ArgumentError, match="token='Q' is no token of the prompt"):
        made(model, token="Q")
    with pytest.raises(ArgumentError, match=r"token\(ids\) raised ZeroDivisionError"):
        made(model, token=lambda ids: 1 // 0)
    with pytest.raises(ModelError, match="llama has blocks 0 to 2"):
        contrastive_addition(model, tokenizer, GERMAN, ENGLISH, "9.hidden")
    with pytest.raises(UnitsError, match="do not fit this one"), steer(make_model("gpt2"), made(model)):
        pass
