"""`PooledStates`: the states that a measurement reads for each language, for other comparisons."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from xalign.errors import ArgumentTypeError
from xalign.measurement.compared import Compared, compared
from xalign.measurement.run import Measurement
from xalign.metrics.metric import Compute
from xalign.model.architectures.sites import Reading
from xalign.model.encode import Encoded
from xalign.model.placement import device_of
from xalign.model.read import read_states


class PooledStates(Measurement):
    """A measurement that returns its states instead of computing metrics of them."""

    @property
    def users(self) -> Mapping[Reading, list[tuple[str, str, Compute]]]:
        """Each reading -> row, what is computed over, and function of what is computed of it."""
        return self._users

    def compared(self) -> Iterator[tuple[str, Compared]]:
        """Yield each language with what the metrics are computed of, reading by reading.

        Use it before asking for the next language, whose states replace it.
        """
        device = device_of(self.model)
        for language, pivot, states in self._read_languages(partial(read_states, self.model)):
            yield language, compared(pivot, states, device, self._with_states)

    def token_ids(self, language: str) -> tuple[Sequence[Sequence[int]], Sequence[Sequence[int]]]:
        """Return the token ids that are pooled, of each sentence of the pivot and of a language."""
        pivot, own = (side.encoded for side in self._prepared.sides[language])
        if not isinstance(pivot, Encoded) or not isinstance(own, Encoded):
            raise ArgumentTypeError("recordings have no tokens")
        return pivot.pooled_ids, own.pooled_ids
