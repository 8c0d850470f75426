"""What is taken off each language's states where they are read, before they are compared."""

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.model.map import ModelMap
from xalign.model.read import States
from xalign.model.sites import Reading
from xalign.units.language_vector import LanguageVector

Subtract = Mapping[str, LanguageVector | Sequence[LanguageVector]]
Offsets = dict[str, dict[Reading, Tensor]]


def checked_offsets(
    subtract: Subtract | None, languages: Iterable[str], read: Iterable[Reading], model_map: ModelMap
) -> Offsets:
    """Language -> reading -> the vector to take off.

    Raises:
        ArgumentError: A language that is not measured, one none of whose vectors is of what is read, or a
            vector of another width.
        ArgumentTypeError: What is no mapping from languages to vectors.
    """
    if subtract is None:
        return {}
    if not isinstance(subtract, Mapping):
        raise ArgumentTypeError(f"subtract must map languages to vectors, not be {subtract!r:.60}")
    wanted, known = set(read), list(languages)
    offsets: Offsets = {}
    for language, given in subtract.items():
        if language not in known:
            raise ArgumentError(
                f"subtract has {language!r}, which is not measured; that is {', '.join(known)}"
            )
        vectors = [given] if isinstance(given, LanguageVector) else given
        if not isinstance(vectors, Sequence) or not all(isinstance(one, LanguageVector) for one in vectors):
            raise ArgumentTypeError(f"subtract[{language!r}] must be a LanguageVector, or a list of them")
        found = {reading: values for one in vectors for reading, values in one.readings.items()}
        offsets[language] = {reading: found[reading] for reading in wanted & found.keys()}
        for reading, values in offsets[language].items():
            width = model_map.place(reading.site).width
            if len(values) != width:
                raise ArgumentError(
                    f"subtract[{language!r}] has {len(values)} coordinates at {reading.site}, which has "
                    f"{width}"
                )
        if not offsets[language]:
            raise ArgumentError(
                f"subtract[{language!r}] has vectors of {', '.join(map(str, found))[:80]}, and none of what "
                f"is read: {', '.join(map(str, sorted(wanted, key=str)))[:80]}; see language_means"
            )
    return offsets


def take_off(states: States, offsets: Mapping[Reading, Tensor]) -> None:
    """Subtracts in place what a language has for each reading."""
    for reading, offset in offsets.items():
        if reading in states:
            states[reading] = states[reading] - offset
