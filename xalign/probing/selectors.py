"""Selectors: which dimensions of a state carry a label. One is the paper's, one is fast."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from xalign.errors import ArgumentError
from xalign.metrics.information import gaussian_information
from xalign.probing.latent_probe import greedy_probe

Examples = tuple[Float[Tensor, "example dimension"], Int[Tensor, " example"]]
Chosen = tuple[Int[Tensor, " chosen"], Float[Tensor, " chosen"]]
Select = Callable[[Examples, Examples, int, int], Chosen]
"""(train, dev, k, seed) -> the dimensions, best first, and the information of each."""


@dataclass(frozen=True, slots=True)
class Selector:
    """A way to select dimensions.

    Attributes:
        name: What users type.
        fn: The function (train, dev, k, seed) -> dimensions and their scores. Labels are numbers from 0.
        summary: One line that says what it does, and whose it is.

    Example:
        >>> SELECTORS["greedy_probe"].summary
        'greedy selection by the latent-variable probe of the paper; slow'
    """

    name: str
    fn: Select
    summary: str


def best_dimensions(train: Examples, dev: Examples, k: int, seed: int = 0) -> Chosen:  # noqa: ARG001
    """Select the k dimensions that each tell most of the label by themselves.

    Example:
        >>> label = torch.arange(40) % 2
        >>> states = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
        >>> states[:, 1] += 9 * label
        >>> best_dimensions((states, label), (states, label), k=1)[0].tolist()
        [1]
    """
    information = gaussian_information(*train, *dev)
    order = information.sort(descending=True, stable=True).indices[:k]
    return order, information[order]


GREEDY_PROBE = Selector(
    "greedy_probe", greedy_probe, "greedy selection by the latent-variable probe of the paper; slow"
)
GAUSSIAN = Selector(
    "gaussian",
    best_dimensions,
    "each dimension for itself, by class-conditional Gaussians; fast, not the paper's",
)
SELECTORS: dict[str, Selector] = {one.name: one for one in (GREEDY_PROBE, GAUSSIAN)}


def resolve_selector(selector: object) -> Selector:
    """Return the selector meant by a name or an object.

    Raises:
        ArgumentError: It is neither.

    Example:
        >>> resolve_selector("gaussian").name
        'gaussian'
    """
    if isinstance(selector, Selector):
        return selector
    if isinstance(selector, str) and selector in SELECTORS:
        return SELECTORS[selector]
    raise ArgumentError(f"selector={selector!r:.60} must be one of {', '.join(SELECTORS)}, or a Selector")
