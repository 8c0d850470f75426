"""Adversarial contrast: a second implementation, gradients, what is moved, padding, bad input."""

import numpy as np
import pytest
import torch
from numpy.random import RandomState
from transformers import M2M100Config, M2M100ForConditionalGeneration

from xalign.errors import XAlignError
from xalign.losses.adversarial_contrast import adversarial_contrast, harder_forms, near_misses, read

PAIRS, WIDTH, WORDS = 4, 6, 9
ENCODER, DECODER = RandomState(0).randn(PAIRS, 5, WIDTH), RandomState(1).randn(PAIRS, 4, WIDTH)
HEAD, PROJECTION = RandomState(2).randn(WORDS, WIDTH), RandomState(3).randn(7, WIDTH)
ENCODER_MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]], dtype=bool)
LABELS = np.array([[3, 1, 8, 2], [5, 5, -100, -100], [0, 7, 4, -100], [6, -100, -100, -100]])
COUNTS = LABELS != -100


def head(states):
    return states @ torch.from_numpy(HEAD).to(states).T


def project(states):
    return (states @ torch.from_numpy(PROJECTION).to(states).T).relu()


def tensors(**changes):
    given = {
        "encoder": torch.from_numpy(ENCODER),
        "decoder": torch.from_numpy(DECODER),
        "encoder_mask": torch.from_numpy(ENCODER_MASK),
        "labels": torch.from_numpy(LABELS),
        "head": head,
    }
    return given | changes


def softmax(scores):
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)


def sentences(states, mask, projected):
    """The same in numpy: direction of the mean of the tokens that count."""
    if projected:
        states = np.maximum(states @ PROJECTION.T, 0)
    means = np.stack([states[i][mask[i]].mean(axis=0) for i in range(len(states))])
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def contrast(encoder, decoder, projected, temperature):
    cosines = sentences(encoder, ENCODER_MASK, projected) @ sentences(decoder, COUNTS, projected).T
    return -np.log(softmax(cosines / temperature).diagonal()).mean()


def unit(gradient):
    length = np.linalg.norm(gradient, axis=2, keepdims=True)
    return np.where(COUNTS[:, :, None], gradient / np.where(length == 0, 1, length), 0)


def slope(function, at, step=1e-6):
    """The gradient by central differences."""
    found = np.zeros_like(at)
    for place in np.ndindex(*at.shape):
        up, down = at.copy(), at.copy()
        up[place] += step
        down[place] -= step
        found[place] = (function(up) - function(down)) / (2 * step)
    return found


def moved(projected, temperature, negative, positive):
    """Near misses and harder forms: gradients of the head by hand, that of the contrast by differences."""
    expected = softmax(DECODER @ HEAD.T)
    wrong = (expected - np.eye(WORDS)[np.where(COUNTS, LABELS, 0)]) @ HEAD
    misses = DECODER + negative * unit(wrong)
    rise = slope(lambda states: contrast(ENCODER, states, projected, temperature), DECODER)
    away = DECODER + positive * unit(rise)
    return misses, away - positive * unit((softmax(away @ HEAD.T) - expected) @ HEAD)


def by_numpy(encoder, decoder, misses, forms, projected, temperature, hard):
    source = sentences(encoder, ENCODER_MASK, projected)
    cosines = source @ sentences(decoder, COUNTS, projected).T
    near = (source * sentences(misses, COUNTS, projected)).sum(axis=1, keepdims=True)
    harder = cosines.copy()
    np.fill_diagonal(harder, (source * sentences(forms, COUNTS, projected)).sum(axis=1))
    losses = [
        -np.log(softmax(np.hstack([scores, near]) / softness)[range(PAIRS), range(PAIRS)]).mean()
        for scores, softness in ((cosines, temperature), (harder, hard))
    ]
    return sum(losses) / 2


@pytest.mark.parametrize("projected", [False, True])
@pytest.mark.parametrize("hard", [None, 1.0])
def test_equals_a_second_implementation(projected, hard):
    misses, forms = moved(projected, 0.2, 0.7, 2.0)
    expected = by_numpy(ENCODER, DECODER, misses, forms, projected, 0.2, hard or 0.2)
    options = {"temperature": 0.2, "hard_temperature": hard, "negative_radius": 0.7, "positive_radius": 2.0}
    found = adversarial_contrast(**tensors(project=project if projected else None), **options)
    assert found.item() == pytest.approx(expected, rel=1e-7)


def test_gradient_takes_what_was_moved_as_constant():
    misses, forms = moved(True, 0.1, 1.0, 3.0)
    encoder, decoder = (torch.from_numpy(one).requires_grad_() for one in (ENCODER, DECODER))
    adversarial_contrast(**tensors(encoder=encoder, decoder=decoder, project=project)).backward()
    of_encoder = slope(lambda x: by_numpy(x, DECODER, misses, forms, True, 0.1, 0.1), ENCODER)
    of_decoder = slope(lambda x: by_numpy(ENCODER, x, misses, forms, True, 0.1, 0.1), DECODER)
    np.testing.assert_allclose(encoder.grad, of_encoder, atol=1e-7)
    np.testing.assert_allclose(decoder.grad, of_decoder, atol=1e-7)
    assert decoder.grad.abs().sum() > 0.1


def test_a_near_miss_is_a_worse_translation_and_a_harder_form_is_harder_to_pick():
    decoder, labels = torch.from_numpy(DECODER), torch.from_numpy(LABELS)
    way = torch.from_numpy(RandomState(9).randn(*DECODER.shape))
    random = decoder + 0.5 * way / way.norm(dim=2, keepdim=True)

    def translation_loss(states):
        return torch.nn.functional.cross_entropy(head(states).flatten(0, 1), labels.flatten()).item()

    missed = near_misses(*read(decoder, labels, head), labels, 0.5)
    assert translation_loss(missed) > max(translation_loss(random), translation_loss(decoder)) + 0.5
    source = torch.from_numpy(sentences(ENCODER, ENCODER_MASK, False))
    formed = harder_forms(*read(decoder, labels, head), labels, head, 0.5, source, None, 0.1)
    harder, plain = (contrast(ENCODER, one, False, 0.1) for one in (formed.numpy(), DECODER))
    assert harder > max(plain, contrast(ENCODER, random.numpy(), False, 0.1)) + 0.5


def test_without_radii_the_translation_is_its_own_rival():
    cosines = sentences(ENCODER, ENCODER_MASK, False) @ sentences(DECODER, COUNTS, False).T
    rival = np.hstack([cosines, cosines.diagonal()[:, None]]) / 0.1
    expected = -np.log(softmax(rival)[range(PAIRS), range(PAIRS)]).mean()
    found = adversarial_contrast(**tensors(), negative_radius=0.0, positive_radius=0)
    assert found.item() == pytest.approx(expected, rel=1e-12)


def test_order_padding_and_evaluation_change_nothing():
    loss = adversarial_contrast(**tensors())
    order = [2, 0, 3, 1]
    turned = {name: one[order] for name, one in tensors().items() if name != "head"}
    assert adversarial_contrast(**turned, head=head).item() == pytest.approx(loss.item(), rel=1e-12)
    encoder, decoder = torch.from_numpy(ENCODER.copy()), torch.from_numpy(DECODER.copy())
    encoder[~torch.from_numpy(ENCODER_MASK)] = torch.nan
    decoder[~torch.from_numpy(COUNTS)] = torch.nan
    padded = adversarial_contrast(**tensors(encoder=encoder, decoder=decoder))
    assert padded.item() == pytest.approx(loss.item(), rel=1e-12)
    with torch.no_grad():
        assert adversarial_contrast(**tensors()).item() == pytest.approx(loss.item(), rel=1e-12)
    with torch.inference_mode(), pytest.raises(XAlignError, match=r"torch\.no_grad"):
        adversarial_contrast(**tensors())


def test_states_and_layers_in_half_precision():
    """What was moved was in float32, and the head in bfloat16 refused it."""
    given, options = tensors(project=project), {"negative_radius": 0.7, "positive_radius": 2.0}
    exact = adversarial_contrast(**given, **options).item()
    layer, projection = (torch.nn.Linear(WIDTH, size, bias=False).bfloat16() for size in (WORDS, 7))
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(HEAD))
        projection.weight.copy_(torch.from_numpy(PROJECTION))
    half = {name: given[name].bfloat16() for name in ("encoder", "decoder")}
    project_half = torch.nn.Sequential(projection, torch.nn.ReLU())
    found = adversarial_contrast(**given | half | {"head": layer, "project": project_half}, **options)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(exact, rel=0.05)


def test_a_translation_model_learns_and_its_weights_get_only_the_gradients_of_the_loss():
    torch.manual_seed(0)
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "tie_word_embeddings": False}
    model = M2M100ForConditionalGeneration(M2M100Config(vocab_size=40, d_model=16, **sizes, **heads))
    model.eval()
    inputs, labels = torch.randint(3, 40, (6, 7)), torch.randint(3, 40, (6, 5))
    labels[0, 3:] = -100
    mask = torch.ones_like(inputs)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        outputs = model(input_ids=inputs, attention_mask=mask, labels=labels, output_hidden_states=True)
        extra = adversarial_contrast(
            outputs.encoder_last_hidden_state,
            outputs.decoder_hidden_states[-1],
            encoder_mask=mask.bool(),
            labels=labels,
            head=model.get_output_embeddings(),
            negative_radius=0.1,
            positive_radius=0.3,
        )
        optimizer.zero_grad()
        extra.backward()
        assert model.get_output_embeddings().weight.grad is None
        optimizer.step()
        losses.append(extra.item())
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": torch.ones(PAIRS, 4)}, ["labels", "whole numbers"]),
        ({"labels": torch.full((PAIRS, 4), -100)}, ["labels", "no token that counts"]),
        ({"labels": torch.full((PAIRS, 4), WORDS)}, ["labels", "9", "0 to 8"]),
        ({"labels": torch.full((PAIRS, 4), -1)}, ["labels", "-1", "-100"]),
        ({"labels": torch.ones(PAIRS, 3, dtype=torch.long)}, ["labels", "(4, 3)", "(4, 4)"]),
        ({"encoder": torch.ones(3, 5, WIDTH)}, ["encoder and decoder", "(3, 5, 6)"]),
        ({"encoder": torch.ones(PAIRS, 5, WIDTH, dtype=torch.long)}, ["encoder", "floating-point"]),
        ({"encoder_mask": torch.ones(PAIRS, 5)}, ["encoder_mask", "True and False"]),
        ({"temperature": 0}, ["temperature"]),
        ({"hard_temperature": -1}, ["temperature"]),
        ({"negative_radius": -1}, ["negative_radius", "-1"]),
        ({"positive_radius": float("nan")}, ["positive_radius", "nan"]),
    ],
)
def test_bad_input(changes, words):
    with pytest.raises(XAlignError) as caught:
        adversarial_contrast(**tensors(**changes))
    assert all(word in str(caught.value) for word in words), caught.value
