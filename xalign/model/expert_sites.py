"""`ExpertSites`: the sites of one module of experts, as a visit looks at them."""

from collections.abc import Mapping
from functools import partial
from typing import Protocol

from torch import Tensor

from xalign.errors import ModelError
from xalign.model.architectures.places import Place
from xalign.model.architectures.sites import Site
from xalign.model.expert_call import See
from xalign.model.routed import Routed


class Visitor(Protocol):
    """What `ExpertSites` asks a session."""

    def tokens_of(self, stack: str) -> tuple[int, int]:
        """Return how many sentences the forward in progress has, and how many tokens each."""

    def fire_experts(self, site: Site, place: Place, routed: Routed) -> Tensor | None:
        """Give the values of a site to its function; return None, or what it puts in their place."""


class ExpertSites:
    """Shapes what experts compute as functions at their sites see it, and what they return.

    Args:
        visitor: Whose functions they are.
        places: Site -> place, all of one module.
    """

    def __init__(self, visitor: Visitor, places: Mapping[Site, Place]) -> None:
        place = next(iter(places.values()))
        if place.experts is None:
            raise LookupError(f"{place} is no place of experts")
        self.path, self.experts = place.path, place.experts
        self._visitor, self._places = visitor, places
        self.see: dict[str, See] = {site.kind: partial(self._see, site.kind) for site in places}

    def _see(self, kind: str, index: Tensor, values: Tensor) -> Tensor | None:
        changed = False
        for site, place in self._places.items():
            if site.kind != kind:
                continue
            new = self._visitor.fire_experts(site, place, self._routed(site, place, index, values))
            if new is not None:
                values, changed = new.reshape(values.shape), True
        return values if changed else None

    def _routed(self, site: Site, place: Place, index: Tensor, values: Tensor) -> Routed:
        lines, tokens = self._visitor.tokens_of(site.stack)
        if len(index) != lines * tokens:
            raise ModelError(
                f"site {site}: {self.path} was given {len(index)} tokens, not the {lines * tokens} of the "
                "forward, so which they are is not known; read hidden, attn_out or mlp_out"
            )
        slots, width = values.shape[1:]
        if width * self.experts.count != place.width:
            raise ModelError(
                f"site {site} has {width} values per expert, not {place.width // self.experts.count}"
            )
        return Routed(
            values.reshape(lines, tokens, slots, width),
            index.reshape(lines, tokens, slots),
            self.experts.count,
        )
