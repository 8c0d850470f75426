"""What a closed loop decided along a run, as the page shows it."""

from collections.abc import Sequence
from typing import Any

from xalign.control.decision import Decision
from xalign.control.record import FILE, load_decisions
from xalign.errors import ReportError
from xalign.results.history import History
from xalign.results.run_folder import file_of_run

LINES = ("duty", "replay", "weight")
"""The parts of a decision that are drawn."""


def decisions_of(history: History) -> dict[str, Any] | None:
    """Return the decisions beside a run's history, in the form that `decisions.js` reads.

    Returns:
        The decisions; None if there are none. A file that cannot be read is reported under `problem`.
    """
    found = file_of_run(history.path, FILE)
    if found is None:
        return None
    try:
        decisions = load_decisions(found)
    except ReportError as error:
        return {"problem": str(error)}
    return {
        "steps": [one.step for one in decisions],
        "lines": {name: [getattr(one, name) for one in decisions] for name in LINES},
        "columns": COLUMNS,
        "rows": decision_rows(decisions),
    }


COLUMNS = ["step", *LINES, "pairs", "why"]
"""The columns of a table of decisions."""


def decision_rows(decisions: Sequence[Decision]) -> list[list[Any]]:
    """Return one row per decision: its step, what it sets, the shares of the languages, and its reason."""
    return [
        [one.step, *(getattr(one, name) for name in LINES), _shares(one), _reason(one)] for one in decisions
    ]


def _shares(decision: Decision) -> str:
    largest_first = sorted(decision.shares.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{code} {share:.0%}" for code, share in largest_first) or "even"


def _reason(decision: Decision) -> str:
    return f"{decision.reason}; the run ends here" if decision.stop else decision.reason
