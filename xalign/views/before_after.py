"""The results of `xalign.improving` for a model, as the page of its run shows them."""

from typing import Any

from xalign.errors import ArgumentError
from xalign.files import read_regular
from xalign.results.history import History
from xalign.results.run_folder import file_of_run
from xalign.schema import Fields, checked, read_json

FILE = "improvement.json"


class _Row(Fields):
    language: str
    metric: str
    before: float
    trained: float
    centred: float | None
    difference: float
    low: float | None
    high: float | None
    floor: float | None
    chance: float | None
    verdict: str


class _Saved(Fields):
    rows: list[_Row]
    losses: dict[str, tuple[float, float]]
    kept: list[str]
    cost: dict[str, float]
    said: list[str]
    schema_version: int


def improvement_of(history: History) -> dict[str, Any] | None:
    """Return the before-and-after results beside a run's history, in the form that `before_after.js` reads.

    Returns:
        The results; None if there are none. A file that cannot be read is reported under `problem`.
    """
    found = file_of_run(history.path, FILE)
    if found is None:
        return None
    try:
        said = read_json(read_regular(found))
        checked(_Saved, said)
    except (OSError, ArgumentError) as error:
        return {"problem": f"{found} cannot be read: {error}"}
    return dict(said)
