"""What a measurement must share with the entry before it, so that both are points of one curve."""

from collections.abc import Mapping, Sequence
from typing import Any

from xalign.errors import ReportError
from xalign.identity import advice, agree
from xalign.metrics.scale import Scale
from xalign.pairs.parallel import count_range
from xalign.results.history_entry import Row, scale_in, settings_of

_ADVICE = "measure the same, or into another folder"


def check_continues(
    last: Row,
    provenance: Mapping[str, Any],
    readings: Mapping[str, Sequence[str] | None],
    scales: Mapping[str, Scale],
    *,
    history: str,
) -> None:
    """Raise an error if a measurement cannot follow an entry; see `History.check`.

    Args:
        last: The entry.
        provenance: The provenance of the measurement. Settings that it does not hold are not compared.
        readings: Row -> the places it is read at, or None where they are not known yet.
        scales: Row -> what its numbers mean, as far as that is known.
        history: What to call the history in an error.

    Raises:
        ReportError: Different sentences, settings, metrics or places, or a metric of the same name that
            means something else.
    """
    for name in dict.fromkeys((*last["settings"], *settings_of(provenance))):
        was = last["settings"].get(name)
        if not agree(provenance.get(name, was), was):
            raise ReportError(_difference(last, name, was, provenance[name], history))
    were = {row: list(found["readings"]) for row, found in last["metrics"].items()}
    if were.keys() != readings.keys() or any(
        places is not None and were[row] != list(places) for row, places in readings.items()
    ):
        raise ReportError(
            f"the metrics or their places are not those of step {last['step']}: {', '.join(were)} there, "
            f"{', '.join(readings)} now; {_ADVICE}"
        )
    for row, scale in scales.items():
        if not scale.agrees_with(scale_in(last, row)):
            raise ReportError(
                f"{row} meant {scale_in(last, row)} at step {last['step']} and means {scale} now: these "
                f"are two metrics of one name; {_ADVICE}"
            )


def _difference(last: Row, name: str, was: object, now: object, history: str) -> str:
    if name != "fingerprint":
        return (
            f"{name} was {was!r} at step {last['step']} and is {now!r} now: such scores make no curve; "
            f"{_ADVICE}{advice(was, now)}"
        )
    languages = next(iter(last["metrics"].values()))["languages"]
    each = count_range(numbers["n"] for numbers in languages.values())
    return (
        f"{history} was measured on other sentences than these, on {each} pairs each of "
        f"{', '.join(languages)} with {last['pivot']}; {_ADVICE}"
    )
