"""`.eval_results/*.yaml`: scores as the Hub shows them on a model's page and on a benchmark's leaderboard."""

from collections.abc import Mapping
from typing import Any

import yaml

from xalign.errors import ArgumentError
from xalign.hub.repo_id import check_repo_id
from xalign.results.report import AlignmentReport

FOLDER = ".eval_results"


def eval_results(
    report: AlignmentReport, benchmark: str, tasks: Mapping[str, str], source_url: str | None = None
) -> bytes:
    """Return the file of some scores of a report (https://huggingface.co/docs/hub/eval-results).

    The Hub links a score to a task of a data set that is registered as a benchmark. Which tasks there are
    stands in the `eval.yaml` of the data set, and so both are to be named.

    Args:
        report: The report.
        benchmark: The data set's id on the Hub.
        tasks: Key of the report's summary, like `"nasca_deu_Latn"` -> id of the task.
        source_url: A page that says more.

    Raises:
        ArgumentError: An id without an owner, no tasks, or a key that the report does not have.
    """
    check_repo_id("benchmark", benchmark, "the id of a data set")
    summary = report.summary()
    unknown = [key for key in tasks if key not in summary]
    if unknown or not tasks:
        raise ArgumentError(
            f"tasks={dict(tasks)!r:.200} must map scores of the report to ids of tasks in the eval.yaml of "
            f"{benchmark}; the scores are: {', '.join(summary)}"
        )
    entries: list[dict[str, Any]] = []
    for key, task in tasks.items():
        entry: dict[str, Any] = {"dataset": {"id": benchmark, "task_id": str(task)}, "value": summary[key]}
        if source_url is not None:
            entry["source"] = {"url": source_url, "name": "xalign"}
        entries.append({**entry, "notes": _notes(report, key)})
    text: str = yaml.safe_dump(entries, sort_keys=False, allow_unicode=True)
    return text.encode()


def _notes(report: AlignmentReport, key: str) -> str:
    """Say in one line what a score is to be held against."""
    metric = next(one for one in sorted(report.measured, key=len, reverse=True) if key.startswith(one))
    language = next((code for code in report.languages if key == f"{metric}_{code}"), None)
    floor = report.floor(metric, language)
    pairs = len(report.pairs[language or report.languages[0]])
    parts = [f"{report.scale(metric).title}, {pairs} pairs with {report.pairs.pivot}"]
    return "; ".join([*parts, *([] if floor is None else [f"lexical floor {floor:.3f}"])])
