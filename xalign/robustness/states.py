"""`PooledStates`: what a measurement reads of each language, to compare it in other ways than a metric."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from torch import Tensor

from xalign.errors import ArgumentTypeError
from xalign.measurement.run import Measurement
from xalign.metrics.cosine import cosine_matrix
from xalign.metrics.metric import Compute
from xalign.model.architectures.sites import Reading
from xalign.model.encode import Encoded
from xalign.model.on_cpu import on_cpu
from xalign.model.read import States, read_states


class PooledStates(Measurement):
    """A measurement whose states are handed out, in place of the metrics of them."""

    @property
    def users(self) -> Mapping[Reading, list[tuple[str, str, Compute]]]:
        """Each reading -> row, what is computed over, and function of what is computed of it."""
        return self._users

    def states(self) -> Iterator[tuple[str, States, States]]:
        """Yield per language the pivot's pooled states and its own, on the CPU."""
        for language, pivot, states in self._read_languages(partial(read_states, self.model)):
            yield language, on_cpu(pivot), on_cpu(states)

    def similarity(self, pivot: Tensor, other: Tensor) -> Tensor:
        """Return the cosines of two sides' states, in float64."""
        return cosine_matrix(pivot, other)

    def token_ids(self, language: str) -> tuple[Sequence[Sequence[int]], Sequence[Sequence[int]]]:
        """Return the token ids that are pooled, of each sentence of the pivot and of a language."""
        pivot, own = (side.encoded for side in self._prepared.sides[language])
        if not isinstance(pivot, Encoded) or not isinstance(own, Encoded):
            raise ArgumentTypeError("recordings have no tokens")
        return pivot.pooled_ids, own.pooled_ids
