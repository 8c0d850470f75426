"""`CachedReads`: what one run of a measurement takes from a cache, and what it leaves there."""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from xalign.errors import ArgumentError
from xalign.measurement.prepare import Side
from xalign.measurement.state_cache import StateCache
from xalign.measurement.state_key import NoKeyError, key_of_model, key_of_side
from xalign.model.architectures.map import map_model
from xalign.model.architectures.sites import Reading
from xalign.model.batches import Batch
from xalign.model.on_cpu import on_cpu
from xalign.model.read import States
from xalign.model.wrapped import transformer_of
from xalign.warn import warn

NOTE = "cache"
"""Where provenance holds what came from a cache."""
_VALUE = 4  # bytes


def opened(cache: StateCache | str | Path | None, *, is_steered: bool, is_shared: bool) -> StateCache | None:
    """Return the cache that a user names, before anything is run.

    Args:
        cache: A cache, or its folder.
        is_steered: Whether languages run in contexts that the user gives (`steered`).
        is_shared: Whether several processes share the forwards.

    Raises:
        ArgumentError: A folder that cannot be written, steering, or several processes.
    """
    if cache is None:
        return None
    if is_steered:
        raise ArgumentError(
            "cache holds states of the model as it is, not as steered= makes it; leave one out"
        )
    if is_shared:
        raise ArgumentError("cache is for one process, and several share this measurement; leave cache out")
    return cache if isinstance(cache, StateCache) else StateCache(cache)


class CachedReads:
    """Reads the states of a model that a cache does not have.

    A problem with the cache never ends a measurement: what cannot be read from it is measured again, and what
    cannot be written to it is not kept. The user is warned once about each.

    Args:
        cache: The cache; with None everything is read.
        model: The model, as it is now.
        layout: Its layout, as JSON holds it.
        readings: What will be read of each side.
        sides: The sides that will be read.

    Attributes:
        forwards: Forward passes that the cache made unnecessary.
        tokens: Tokens that did not have to be run.
    """

    def __init__(
        self,
        cache: StateCache | None,
        model: nn.Module,
        layout: object,
        readings: Collection[Reading],
        sides: Sequence[Side],
    ) -> None:
        self._cache, self._key = cache, ""
        self._without, self._is_kept, self._is_broken = "", True, False
        self._asked = self._found = self.forwards = self.tokens = 0
        if cache is None:
            return
        model_map = map_model(model)
        places = {reading: model_map.place(reading.site) for reading in readings}
        self._places = {reading: f"{reading} at {place}" for reading, place in places.items()}
        size = _VALUE * sum(place.width for place in places.values()) * sum(len(one.encoded) for one in sides)
        if size > cache.most_bytes:
            self._go_without(
                f"what is read takes {size} bytes, and it keeps {cache.most_bytes}; "
                f"StateCache(folder, most_bytes={size}) keeps all"
            )
            return
        try:
            self._key = key_of_model(transformer_of(model), layout)
        except NoKeyError as reason:
            self._go_without(str(reason))
        except Exception as error:  # of an object of the user's, or of a way to hold weights
            self._go_without(f"{type(error).__name__} while the weights were digested: {error!s:.200}")

    @property
    def note(self) -> dict[str, Any]:
        """What provenance records about the cache."""
        if self._cache is None:
            return {}
        if self._without:
            return {NOTE: {"without": self._without}}
        spared = {"forwards_spared": self.forwards, "tokens_spared": self.tokens}
        return {NOTE: {"states": self._asked, "from_cache": self._found, **spared}}

    def through(self, read: Callable[..., States]) -> Callable[..., States]:
        """Return a function that works like `read`, but takes from the cache what it has."""
        cache = self._cache
        if cache is None or not self._key:
            return read

        def read_or_take(
            batches: Sequence[Batch],
            readings: Collection[Reading],
            on_batch: Callable[[], object] | None = None,
            **options: Any,
        ) -> States:
            side = key_of_side(batches)
            keys = {reading: self._key_of(side, reading) for reading in readings}
            found = self._take(cache, keys)
            missing = [reading for reading in keys if reading not in found]
            if missing:
                fresh = read(batches, missing, on_batch=on_batch, **options)
                self._keep(cache, {keys[reading]: states for reading, states in on_cpu(fresh).items()})
                found |= fresh
            else:
                self.forwards += len(batches)
                self.tokens += sum(batch.pooled.numel() for batch in batches)
                if on_batch is not None:
                    for _ in batches:
                        on_batch()
            return {reading: found[reading] for reading in keys}

        return read_or_take

    def end(self) -> None:
        """Delete old states until the cache is within its size limit."""
        if self._cache is not None and self._key and self._is_kept:
            self._try_to_keep(self._cache.trim)

    def _key_of(self, side: str, reading: Reading) -> str:
        return hashlib.sha256(f"{self._key} {side} {self._places[reading]}".encode()).hexdigest()

    def _take(self, cache: StateCache, keys: Mapping[Reading, str]) -> States:
        """Return the states that the cache has."""
        found: States = {}
        for reading, key in keys.items():
            try:
                states = cache.get(key)
            except Exception as error:  # a file that was cut or altered raises anything
                self._say_broken(error)
                continue
            if states is not None:
                found[reading] = states
        self._asked, self._found = self._asked + len(keys), self._found + len(found)
        return found

    def _keep(self, cache: StateCache, states: Mapping[str, Tensor]) -> None:
        """Keep states, until that fails."""
        for key, values in states.items() if self._is_kept else ():
            if not self._try_to_keep(partial(cache.put, key, values)):
                return

    def _try_to_keep(self, step: Callable[[], None]) -> bool:
        try:
            step()
        except Exception as error:  # no room, or no folder any more
            self._is_kept = False
            warn(f"the cache cannot keep what is read, and the measurement goes on: {error!s:.200}")
        return self._is_kept

    def _say_broken(self, error: Exception) -> None:
        if not self._is_broken:
            self._is_broken = True
            warn(f"some of the cache is broken and is measured anew ({type(error).__name__}: {error!s:.200})")

    def _go_without(self, reason: str) -> None:
        self._without = reason
        warn(f"measured without the cache: {reason}")
