"""Adversarial contrast of an encoder–decoder: a sentence picks its translation, even beside a near miss.

The near miss and the harder translation are made from the decoder's states with gradients of the translation
loss, of the contrast and of a divergence. So the loss needs the encoder and the decoder states of one forward
pass, and is not a `Loss` that `AlignmentConfig` takes: call it in your own loss.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from xalign.checks import positive
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.losses.direction import SHORTEST, checked_temperature, directions
from xalign.losses.similarity import cosines
from xalign.losses.tokens import checked_tokens, sentence_means, token_directions

IGNORED = -100
"""The label of tokens that do not count, as in transformers."""

Layer = Callable[[Tensor], Tensor]


def adversarial_contrast(
    encoder: Float[Tensor, "pair source_token width"],
    decoder: Float[Tensor, "pair token width"],
    *,
    encoder_mask: Bool[Tensor, "pair source_token"],
    labels: Int[Tensor, "pair token"],
    head: Layer,
    project: Layer | None = None,
    temperature: float = 0.1,
    hard_temperature: float | None = None,
    negative_radius: float = 1.0,
    positive_radius: float = 3.0,
) -> Float[Tensor, ""]:
    """Compute InfoNCE from encoder to decoder, with a near miss and a harder form of each translation.

    With c_ij the cosine of sentence i and translation j, means over tokens, the loss is the mean over i of ½
    (L(c_ii; τ) + L(p_i; τ')). L(c; τ) is −log of the share of exp(c / τ) among c, n_i and c_ij of all other
    translations. n_i is the cosine of sentence i and its near miss, and p_i that of it and its harder form;
    see `near_misses` and `harder_forms`. No gradient flows through these two; it reaches the encoder,
    `project` and, through c_ij, the decoder, but not `head`.

    Collapse: a single point is not a minimum. Encoder and decoder may drop what tells languages apart; the
    translation loss, trained alongside, guards against that.

    Args:
        encoder: The encoder's last states of a batch of sentences.
        decoder: The decoder's last states of their translations, as `head` reads them, from the same forward
            pass.
        encoder_mask: True at the sentences' tokens that count.
        labels: The token that each state of the decoder is to predict, or −100 where none counts.
        head: The layer from the decoder's states to logits. It runs twice.
        project: A layer of yours that both stacks' states go through; Linear and ReLU in the paper.
        temperature: τ.
        hard_temperature: τ', or None for τ, as in the paper. The authors' code has 1.
        negative_radius: How far each token of a near miss is moved, in the units of the states.
        positive_radius: The same for each of the two moves of a harder form.

    Raises:
        ArgumentError: Shapes that do not fit, no pair, a sentence without a token or label that counts,
            labels outside the vocabulary, or an option out of range.

    Reference:
        Lee et al. (2021), CLAPS, §3; Lai et al. (2023), Bi-ACL.
    """
    names = ("encoder", "decoder", "encoder_mask", "labels")
    checked_tokens(encoder, decoder, encoder_mask, _counted(labels), names)
    temperature = checked_temperature(temperature)
    harder = temperature if hard_temperature is None else checked_temperature(hard_temperature)
    source = _sentences(encoder, encoder_mask, project)
    states, logits = read(decoder, labels, head)
    missed = near_misses(states, logits, labels, negative_radius)
    formed = harder_forms(states, logits, labels, head, positive_radius, source, project, temperature)
    target, miss, form = (_sentences(one, _counted(labels), project) for one in (decoder, missed, formed))
    cosine = cosines(source, target)
    near = (source * miss).sum(dim=1, keepdim=True)
    hard = cosine.diagonal_scatter((source * form).sum(dim=1))
    easier_loss = _picking(torch.cat([cosine, near], dim=1), temperature)
    return (easier_loss + _picking(torch.cat([hard, near], dim=1), harder)) / 2


def read(
    states: Float[Tensor, "pair token width"], labels: Int[Tensor, "pair token"], head: Layer
) -> tuple[Float[Tensor, "pair token width"], Float[Tensor, "counted vocabulary"]]:
    """Return the states as a leaf of a new graph, and in full precision the logits of those that count."""
    if torch.is_inference_mode_enabled():
        raise ArgumentError("adversarial_contrast takes gradients of its own; evaluate it in torch.no_grad()")
    leaf = states.detach().requires_grad_()
    with torch.enable_grad():
        logits = _wide(head(leaf[_counted(labels)]))
    outside = labels[_counted(labels) & ((labels < 0) | (labels >= logits.shape[-1]))]
    if len(outside):
        raise ArgumentError(
            f"labels holds {int(outside[0])}, but head gives {logits.shape[-1]} logits; allowed are 0 to "
            f"{logits.shape[-1] - 1}, and {IGNORED} where none counts"
        )
    return leaf, logits


def near_misses(
    states: Float[Tensor, "pair token width"],
    logits: Float[Tensor, "counted vocabulary"],
    labels: Int[Tensor, "pair token"],
    radius: float,
) -> Float[Tensor, "pair token width"]:
    """Move each state by `radius` to where the translation loss rises fastest.

    The result is close to the translation, and is meant to say something else. `states` and `logits` are
    those of `read`. No gradient flows through the result.

    Example:
        >>> labels = torch.tensor([[0]])
        >>> states, logits = read(torch.zeros(1, 1, 2), labels, torch.nn.Identity())
        >>> near_misses(states, logits, labels, 1.0)  # away from the label's logit
        tensor([[[-0.7071,  0.7071]]])
    """
    radius = positive("negative_radius", radius, zero=True)
    with torch.enable_grad():
        loss = cross_entropy(logits, labels[_counted(labels)], reduction="sum")
        return states.detach() + radius * _steepest(loss, states)


def harder_forms(
    states: Float[Tensor, "pair token width"],
    logits: Float[Tensor, "counted vocabulary"],
    labels: Int[Tensor, "pair token"],
    head: Layer,
    radius: float,
    source: Float[Tensor, "pair width"],
    project: Layer | None,
    temperature: float,
) -> Float[Tensor, "pair token width"]:
    """Move each state by `radius` to where the contrast rises fastest, then back to what the head expects.

    The second move, as long as the first, is to where KL(unmoved ‖ moved) of the next tokens falls fastest.
    The result is meant to look unlike the translation, and to say the same. `states` and `logits` are those
    of `read`, and `source` the directions of the sentences; the other arguments are those of
    `adversarial_contrast`. No gradient flows through the result.
    """
    radius = positive("positive_radius", radius, zero=True)
    with torch.enable_grad():
        cosine = cosines(source.detach(), _sentences(states, _counted(labels), project))
        away = states + radius * _steepest(_picking(cosine, temperature), states)
        moved, found = read(away, labels, head)
        divergence = kl_div(
            log_softmax(found, dim=1),
            log_softmax(logits.detach(), dim=1),
            log_target=True,
            reduction="sum",
        )
        return moved.detach() - radius * _steepest(divergence, moved)


def _counted(labels: Int[Tensor, "pair token"]) -> Bool[Tensor, "pair token"]:
    """Tell which of the decoder's states count, or raise an error where labels are no whole numbers."""
    if not isinstance(labels, Tensor) or labels.is_floating_point() or labels.dtype == torch.bool:
        raise ArgumentTypeError(f"labels must be a tensor of whole numbers, not {labels!r:.60}")
    return labels != IGNORED


def _sentences(
    states: Float[Tensor, "pair token width"], mask: Bool[Tensor, "pair token"], project: Layer | None
) -> Float[Tensor, "pair projected"]:
    """Compute the direction of the mean of each sentence's projected tokens."""
    states = states.masked_fill(~mask.unsqueeze(2), 0.0)
    projected = states if project is None else project(states)
    return directions(sentence_means(_wide(projected), mask))


def _picking(scores: Float[Tensor, "pair candidate"], temperature: float) -> Float[Tensor, ""]:
    """Compute the loss of picking candidate i in row i."""
    return cross_entropy(scores / temperature, torch.arange(len(scores), device=scores.device))


def _steepest(loss: Float[Tensor, ""], states: Float[Tensor, "pair token width"]) -> Tensor:
    """Return per token the direction in which a loss rises fastest; 0 where it does not change."""
    (gradient,) = torch.autograd.grad(loss, states)
    return token_directions(_wide(gradient), SHORTEST).to(gradient.dtype)


def _wide(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
