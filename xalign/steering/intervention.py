"""`Intervention`: a named change of a running model, which `steer` makes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from xalign.checks import function_of, number, whole_number
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.model.architectures.sites import Site
from xalign.model.positions import Positions, check_positions
from xalign.model.user_function import errors_of
from xalign.model.write import Edit


@dataclass(frozen=True, slots=True)
class Intervention:
    """A change of a model that units and vectors alone cannot express: which edit is made at which site.

    Attributes:
        name: What results and errors call it.
        make: Function from the strength to the edit of each site.
        positions: At which tokens it acts by default, as in `write`.
        provenance: Where it comes from: model, revision, shape of the model, method, settings, fingerprint of
            the data.
        control: Function from a seed to an intervention of the same size at the same sites that knows nothing
            of languages, to compare effects with; None if there is none.

    Raises:
        ArgumentTypeError: A name that is not text, or functions that are not callable.

    Example:
        >>> from xalign.model.write import Edit
        >>> def fade(strength):
        ...     return {Site("inner", 1): Edit("scale", 1 - strength)}
        >>> with steer(model, Intervention("fade", fade), strength=0.5) as done:
        ...     _ = model(**batch)
        >>> done.tokens
        10
    """

    name: str
    make: Callable[[float], Mapping[Site, Edit]]
    positions: Positions = "all"
    provenance: Mapping[str, Any] = field(default_factory=dict)
    control: "Callable[[int], Intervention] | None" = None

    def __post_init__(self) -> None:
        """Check types."""
        if not isinstance(self.name, str) or not self.name:
            raise ArgumentTypeError(f"name={self.name!r:.60} must be text, like 'incline'")
        function_of("make", self.make, "strength")
        check_positions(self.positions)
        if self.control is not None:
            function_of("control", self.control, "seed")

    def edits(self, strength: float = 1.0) -> Mapping[Site, Edit]:
        """Return the edit of each site at a strength.

        Raises:
            ArgumentError: The user's function raises an error, or gives no edit.
        """
        strength = number("strength", strength)
        with errors_of(f"make of intervention {self.name!r}"):
            edits = self.make(strength)
        if not isinstance(edits, Mapping) or not edits:
            raise ArgumentError(
                f"make of intervention {self.name!r} must return site -> Edit, not {edits!r:.60}"
            )
        return edits

    def random(self, seed: int = 0) -> "Intervention":
        """Return a control: a change of the same size at the same sites that knows nothing of languages.

        Raises:
            ArgumentError: This intervention has no control.
        """
        if self.control is None:
            raise ArgumentError(
                f"intervention {self.name!r} has no random control; give one, control=, or ask for none, "
                "random_sets=0"
            )
        return self.control(whole_number("seed", seed))
