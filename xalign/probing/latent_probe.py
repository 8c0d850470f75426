"""The latent-variable probe: a linear probe that works with any subset of dimensions; greedy selection."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from xalign.metrics.information import normalised_information

_RATE, _EPOCHS, _PATIENCE, _MASKS = 1e-2, 5000, 50, 5
_HELD_OUT = 0.1
_ENTROPY_OF_STOPPING = 1e-2  # the weight of the entropy in the loss that decides when to stop
_CHUNK = 2**24  # numbers held at a time while dimensions are tried


@dataclass(frozen=True, slots=True)
class LatentProbe:
    """A linear probe of states whose other dimensions are masked by 0.

    Attributes:
        weight: A row per dimension.
        bias: Of each label.
        inclusion: The probability with which each dimension was unmasked at the end of training.
    """

    weight: Float[Tensor, "dimension label"]
    bias: Float[Tensor, " label"]
    inclusion: Float[Tensor, " dimension"]

    def information(
        self, states: Float[Tensor, "example dimension"], label: Int[Tensor, " example"], subset: Tensor
    ) -> float:
        """Return the normalised information on the labels that the probe gets from some dimensions."""
        scores = states[:, subset] @ self.weight[subset] + self.bias
        return normalised_information(scores.log_softmax(dim=-1), label).item()


def train_latent_probe(
    states: Float[Tensor, "example dimension"],
    label: Int[Tensor, " example"],
    *,
    seed: int = 0,
    epochs: int = _EPOCHS,
) -> LatentProbe:
    """Train a linear probe under masks that are drawn anew for every example.

    A mask takes each dimension d with probability w_d / (1 + w_d), w_d = exp φ_d (the "Poisson" family). The
    probe maximises the expected log-probability of the labels under 5 masks; φ maximises that plus the
    entropy of the masks, by the score function of 5 masks more. Adam with rate .01, all examples at once,
    stops when the loss on a tenth of them, held out, has not fallen for 50 epochs.

    Args:
        states: The states to learn from.
        label: Their labels, numbered from 0.
        seed: The seed of the masks, of φ and of the held-out examples.
        epochs: The most epochs.

    Reference:
        Stańczak et al. (2022), A Latent-Variable Model for Intrinsic Probing, with the settings of Wang,
        Minervini and Ponti (2024).

    Example:
        >>> label = torch.arange(60) % 2
        >>> states = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
        >>> states[:, 2] += 9 * label
        >>> probe = train_latent_probe(states, label, epochs=200)
        >>> probe.information(states, label, torch.tensor([2])) > 0.5
        True
    """
    draw = torch.Generator().manual_seed(seed)
    x, width = states.float(), states.shape[1]
    order = torch.randperm(len(x), generator=draw)
    held, kept = order[: max(1, round(_HELD_OUT * len(x)))], order[max(1, round(_HELD_OUT * len(x))) :]
    weight = torch.zeros(width, int(label.max()) + 1, requires_grad=True)
    bias = torch.zeros(weight.shape[1], requires_grad=True)
    phi = torch.rand(width, generator=draw).requires_grad_()
    optimizer = torch.optim.Adam([weight, bias, phi], lr=_RATE)
    best, waited, state = (
        float("inf"),
        0,
        (weight.detach().clone(), bias.detach().clone(), phi.detach().clone()),
    )
    with torch.enable_grad():
        for _ in range(epochs):
            optimizer.zero_grad()
            loss, _ = _losses(x[kept], label[kept], weight, bias, phi, draw)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            with torch.no_grad():
                _, stopping = _losses(x[held], label[held], weight, bias, phi, draw)
            if stopping < best:
                best, waited = stopping, 0
                state = _copies(weight, bias, phi)
            elif (waited := waited + 1) >= _PATIENCE:
                break
    return LatentProbe(state[0], state[1], state[2].sigmoid())


def _copies(weight: Tensor, bias: Tensor, phi: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return weight.detach().clone(), bias.detach().clone(), phi.detach().clone()


def _losses(
    x: Float[Tensor, "example dimension"],
    label: Int[Tensor, " example"],
    weight: Tensor,
    bias: Tensor,
    phi: Tensor,
    draw: torch.Generator,
) -> tuple[Tensor, float]:
    """Return the loss to train with, and that which says when to stop."""
    chance = phi.sigmoid()

    def lost(masks: Tensor) -> Float[Tensor, "mask example"]:
        predicted = ((x * masks) @ weight + bias).log_softmax(dim=-1)
        return -predicted.gather(-1, label.expand(len(masks), -1).unsqueeze(-1)).squeeze(-1)

    def drawn() -> Float[Tensor, "mask example dimension"]:
        return (torch.rand(_MASKS, *x.shape, generator=draw) < chance.detach()).float()

    of_probe, masks = lost(drawn()), drawn()
    # log q(C) = Σ_{d ∈ C} φ_d − Σ_d log(1 + w_d); its gradient, weighted by the loss of C, is REINFORCE.
    normaliser = torch.nn.functional.softplus(phi).sum()
    log_q = (masks * phi).sum(dim=-1) - normaliser
    of_masks = (lost(masks).detach() * log_q).mean()
    entropy = normaliser - (chance * phi).sum()
    stopping = of_probe.mean() - _ENTROPY_OF_STOPPING * entropy
    return of_probe.mean() + of_masks - entropy, float(stopping.detach())


def greedy_probe(
    train: tuple[Float[Tensor, "example dimension"], Int[Tensor, " example"]],
    dev: tuple[Float[Tensor, "other dimension"], Int[Tensor, " other"]],
    k: int,
    seed: int = 0,
) -> tuple[Int[Tensor, " chosen"], Float[Tensor, " chosen"]]:
    """Select k dimensions one by one, each time the one that tells the probe most about the labels.

    Args:
        train: States and labels to train `train_latent_probe` with.
        dev: States and labels to choose by.
        k: How many.
        seed: The seed of the training.

    Returns:
        The dimensions in the order of choice, of equal ones the lower; and the normalised information of the
        subset after each choice.

    Reference:
        Wang, Minervini and Ponti (2024), Probing the Emergence, with k = 50.

    Example:
        >>> label = torch.arange(60) % 2
        >>> states = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
        >>> states[:, 2] += 9 * label
        >>> greedy_probe((states, label), (states, label), k=1)[0].tolist()
        [2]
    """
    probe = train_latent_probe(*train, seed=seed)
    return greedy_choice(probe, *dev, k=k)


def greedy_choice(
    probe: LatentProbe, states: Float[Tensor, "example dimension"], label: Int[Tensor, " example"], k: int
) -> tuple[Int[Tensor, " chosen"], Float[Tensor, " chosen"]]:
    """Select k dimensions with a probe that is trained; see `greedy_probe`.

    Example:
        >>> probe = LatentProbe(torch.tensor([[0.0, 0.0], [-1.0, 1.0]]), torch.zeros(2), torch.ones(2))
        >>> states, label = torch.tensor([[5.0, -3.0], [5.0, 3.0]]), torch.tensor([0, 1])
        >>> greedy_choice(probe, states, label, k=2)[0].tolist()
        [1, 0]
    """
    x, scores = states.float(), probe.bias.expand(len(states), -1)
    left = torch.ones(x.shape[1], dtype=torch.bool)
    chosen, found = [], []
    step = max(1, _CHUNK // (len(x) * probe.weight.shape[1]))
    for _ in range(min(k, x.shape[1])):
        tried = left.nonzero()[:, 0]
        found_by = [_information_with(some, scores, x, probe, label) for some in torch.split(tried, step)]
        information = torch.cat(found_by)
        best = int(information.argmax())  # the first of equal ones
        unit = int(tried[best])
        scores = scores + x[:, unit : unit + 1] * probe.weight[unit]
        left[unit] = False
        chosen.append(unit)
        found.append(information[best])
    return torch.tensor(chosen), torch.stack(found)


def _information_with(
    units: Tensor, scores: Tensor, states: Tensor, probe: LatentProbe, label: Tensor
) -> Float[Tensor, " unit"]:
    """Return the information of what is chosen already, with each of some dimensions added."""
    added = states[:, units].T.unsqueeze(-1) * probe.weight[units].unsqueeze(1)
    return normalised_information((scores + added).log_softmax(dim=-1), label)
