"""What is subtracted from the states of each language after they are read and before they are compared."""

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.measurement.options import Subtract
from xalign.model.architectures.map import ModelMap
from xalign.model.architectures.sites import Reading
from xalign.model.read import States
from xalign.pairs.languages import match_language
from xalign.units.compatibility import check_compatible
from xalign.units.language_vector import LanguageVector
from xalign.warn import warn

Offsets = dict[str, dict[Reading, Tensor]]


def checked_offsets(
    subtract: Subtract | None, languages: Iterable[str], read: Iterable[Reading], model_map: ModelMap
) -> Offsets:
    """Check what to subtract, and return language -> reading -> vector.

    Raises:
        ArgumentError: A language that is not measured, a language without a vector for anything that is read,
            or a vector of another width.
        ArgumentTypeError: `subtract` is not a mapping from languages to vectors.
        UnitsError: Vectors of a model of another shape.
    """
    if subtract is None:
        return {}
    if not isinstance(subtract, Mapping):
        raise ArgumentTypeError(f"subtract must map languages to vectors, not be {subtract!r:.60}")
    wanted, known = set(read), list(languages)
    offsets: Offsets = {}
    for spelled, given in subtract.items():
        language = match_language(spelled, known)
        if language is None:
            raise ArgumentError(
                f"subtract has {spelled!r}, which is not measured; that is {', '.join(known)}"
            )
        if language in offsets:
            raise ArgumentError(f"subtract has {language} twice, in two spellings")
        found = _readings_of(language, given, model_map)
        # Copies: the record of these vectors must hold for every run.
        offsets[language] = {reading: found[reading].clone() for reading in wanted & found.keys()}
        _check_widths(language, offsets[language], model_map)
        if not offsets[language]:
            raise ArgumentError(
                f"subtract[{language!r}] has vectors of {', '.join(map(str, found))[:80]}, and none of what "
                f"is read: {', '.join(map(str, sorted(wanted, key=str)))[:80]}; see language_means"
            )
    missing = sorted({str(one) for own in offsets.values() for one in wanted - own.keys()})
    if missing:
        warn(
            f"subtract has no vector of {', '.join(missing[:3])}{' …' if len(missing) > 3 else ''} for some "
            "languages: what is read there is compared as it is"
        )
    return offsets


def _readings_of(
    language: str, given: LanguageVector | Sequence[LanguageVector], model_map: ModelMap
) -> dict[Reading, Tensor]:
    """Return reading -> vector, of all vectors given for a language."""
    vectors = [given] if isinstance(given, LanguageVector) else given
    if not isinstance(vectors, Sequence) or not all(isinstance(one, LanguageVector) for one in vectors):
        raise ArgumentTypeError(f"subtract[{language!r}] must be a LanguageVector, or a list of them")
    found: dict[Reading, Tensor] = {}
    for one in vectors:
        check_compatible(one.provenance, model_map)
        twice = [str(reading) for reading in one.readings if reading in found]
        if twice:
            raise ArgumentError(f"subtract[{language!r}] has two vectors of {', '.join(twice[:3])}")
        found |= one.readings
    return found


def _check_widths(language: str, offsets: Mapping[Reading, Tensor], model_map: ModelMap) -> None:
    for reading, values in offsets.items():
        width = model_map.place(reading.site).width
        if len(values) != width:
            raise ArgumentError(
                f"subtract[{language!r}] has {len(values)} coordinates at {reading.site}, which has {width}"
            )


def subtract_offsets(states: States, offsets: Mapping[Reading, Tensor]) -> None:
    """Subtract the vectors of a language from its states, in place."""
    for reading, offset in offsets.items():
        states[reading] -= offset.to(states[reading].device)
