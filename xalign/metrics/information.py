"""Normalised mutual information: how much predictions, or single dimensions of a state, tell of a label."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from xalign.errors import ArgumentError

_LEAST_VARIANCE = 1e-6  # of a dimension's own variance: an equal value in a whole class says not everything


def normalised_information(
    log_probability: Float[Tensor, "*subset example label"], label: Int[Tensor, " example"]
) -> Float[Tensor, "*subset"]:
    """Return the mutual information of labels and predictions, as a share of the entropy of the labels.

    It is (H − H') / H in bits, where H is the entropy of the labels' shares among these examples, and H' the
    mean of −log₂ p of the right label. It is 1 where every label is predicted with certainty, 0 where the
    predictions are the shares themselves, and negative where they are worse.

    Args:
        log_probability: Natural logarithms of the predicted probabilities.
        label: The right labels, numbered from 0.

    Raises:
        ArgumentError: Labels of one kind only, whose entropy is 0.

    Reference:
        Wang, Minervini and Ponti (2024), Probing the Emergence, after Torroba Hennigen et al. (2020).

    Example:
        >>> label = torch.tensor([0, 1, 0, 1])
        >>> sure = torch.tensor([[0.9, 0.1], [0.1, 0.9], [0.9, 0.1], [0.1, 0.9]])
        >>> round(normalised_information(sure.log(), label).item(), 3)  # 1 + log₂ .9
        0.848
    """
    shares = torch.bincount(label).double() / len(label)
    entropy = -torch.xlogy(shares, shares).sum()
    if not bool(entropy > 0):
        raise ArgumentError("all examples have the same label; there is nothing to tell")
    right = log_probability.gather(-1, label.expand(log_probability.shape[:-1]).unsqueeze(-1)).squeeze(-1)
    return 1 + right.double().mean(dim=-1) / entropy


def gaussian_information(
    train: Float[Tensor, "example dimension"],
    train_label: Int[Tensor, " example"],
    dev: Float[Tensor, "other dimension"],
    dev_label: Int[Tensor, " other"],
) -> Float[Tensor, " dimension"]:
    """Return `normalised_information` of each dimension by itself.

    Each label's values are taken as normal, with mean and variance of the training examples; the prior is the
    labels' shares there.

    Args:
        train: States to fit with.
        train_label: Their labels, numbered from 0 without gaps.
        dev: States to judge with.
        dev_label: Their labels.

    Raises:
        ArgumentError: A label with fewer than 2 training examples, or dev examples of one label only.

    Example:
        >>> label = torch.arange(40) % 2
        >>> states = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
        >>> states[:, 1] += 9 * label
        >>> information = gaussian_information(states, label, states, label)
        >>> bool(information[0] < 0.2), bool(information[1] > 0.9)
        (True, True)
    """
    count = torch.bincount(train_label)
    if int(count.min()) < 2:  # noqa: PLR2004
        raise ArgumentError(f"a label has {int(count.min())} training example(s); at least 2 are needed")
    x, y = train.double(), dev.double()
    floor = (_LEAST_VARIANCE * x.var(dim=0, correction=0)).clamp_min(torch.finfo(torch.float64).tiny)
    joint = []
    for number, own in enumerate(count.tolist()):
        values = x[train_label == number]
        mean, variance = values.mean(dim=0), values.var(dim=0, correction=0).maximum(floor)
        density = -0.5 * ((y - mean).square() / variance + variance.log() + math.log(2 * math.pi))
        joint.append(density + math.log(own / len(train_label)))
    predicted = torch.stack(joint, dim=-1).log_softmax(dim=-1)  # [other, dimension, label]
    return normalised_information(predicted.transpose(0, 1), dev_label)
