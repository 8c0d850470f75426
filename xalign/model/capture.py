"""`capture`: keep the tensors at some sites, with their gradient."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from jaxtyping import Float
from torch import Tensor, nn

from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.architectures.map import ModelMap, map_model
from xalign.model.architectures.sites import Site
from xalign.model.visit import VisitFn, visit_mapped

Captured = dict[Site, Float[Tensor, "batch token width"]]


@takes_layout
@contextmanager
def capture(model: nn.Module, sites: Iterable[Site], *, early_exit: bool = False) -> Iterator[Captured]:
    """Keep the tensor of each site, as part of the graph of the forward.

    The tensors lie on the model's own path: a loss on them reaches the weights below, and whatever the model
    computes from them can be differentiated with respect to them. They stay valid after the `with`; the hooks
    do not. A second forward inside the `with` replaces the tensors of the first.

    Args:
        model: The model that is called inside the `with`.
        sites: The places.
        early_exit: Leave the forward, and with it the `with`, once every site has its tensor, as in `visit`.

    Yields:
        Site -> tensor [batch, token, width], filled in by the forward.

    Raises:
        ArgumentTypeError: `sites` is not a list of places.
        ArgumentError: `sites` is empty.
        ModelError: As in `visit`.

    Example:
        >>> site = Site("inner", 1)
        >>> with capture(model, [site]) as states:
        ...     output = model(**batch)
        >>> loss = output.last_hidden_state.square().mean()
        >>> torch.autograd.grad(loss, states[site])[0].shape
        torch.Size([2, 5, 64])
    """
    if isinstance(sites, str | Site) or not isinstance(sites, Iterable):
        raise ArgumentTypeError(
            f"sites must be a list of places, like [Site('hidden', 3)], not {sites!r:.60}"
        )
    sites = list(sites)
    if not sites:
        raise ArgumentError("sites is empty; name at least one place, like Site('hidden', 3)")
    with capture_mapped(model, map_model(model), sites, early_exit=early_exit) as captured:
        yield captured


@contextmanager
def capture_mapped(
    model: nn.Module, model_map: ModelMap, sites: Sequence[Site], *, early_exit: bool = False
) -> Iterator[Captured]:
    """Keep tensors of a model whose map is known, as `map_model` just gave it; otherwise as `capture`."""
    captured: Captured = {}

    def keeper(site: Site) -> VisitFn:
        def keep(values: Tensor) -> Tensor:
            captured[site] = values
            return values

        return keep

    fns = {site: keeper(site) for site in sites}
    with visit_mapped(model, model_map, fns, early_exit=early_exit):
        yield captured
