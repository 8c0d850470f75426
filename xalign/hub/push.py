"""`push_report`: a report's card section, results and records, in one commit to a model on the Hub."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from xalign.errors import ArgumentError, ReportError
from xalign.hub.card import card_section, with_section
from xalign.hub.eval_results import FOLDER, eval_results
from xalign.hub.every_eval_ever import Evaluator, Relationship, record_of
from xalign.hub.repo_id import check_repo_id
from xalign.results.report import AlignmentReport

README = "README.md"
RECORDS = "evaluations"


def push_report(
    report: AlignmentReport,
    repo_id: str,
    *,
    benchmark: str | None = None,
    tasks: Mapping[str, str] | None = None,
    organization: str | None = None,
    relationship: Relationship | None = None,
    with_text: bool = False,
    create_pr: bool = False,
    revision: str | None = None,
    token: str | None = None,
    commit_message: str = "Add cross-lingual alignment measured with xalign",
) -> str:
    """Put a report into a model's repository on the Hub, in one commit; see `AlignmentReport.push_to_hub`."""
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.constants import ENDPOINT

    check_repo_id("repo_id", repo_id, "the id of a model")
    if (benchmark is None) != (tasks is None):
        raise ArgumentError(
            "benchmark= and tasks= belong together: the data set, and which score is which of its tasks"
        )
    evaluator = _evaluator(repo_id, organization, relationship, create_pr=create_pr)
    record = record_of(report, repo_id, evaluator, with_text=with_text)
    files = {f"{RECORDS}/{path}": content for path, content in record.files().items()}
    if benchmark is not None and tasks is not None:
        page = f"{ENDPOINT}/{repo_id}/blob/{revision or 'main'}/{next(iter(files))}"
        files[f"{FOLDER}/xalign.yaml"] = eval_results(report, benchmark, tasks, page)
    api = HfApi(token=token)
    with _told(repo_id):
        head = api.repo_info(repo_id, revision=revision).sha
        files[README] = with_section(_card(api, repo_id, head), card_section(report)).encode()
        return str(
            api.create_commit(
                repo_id,
                [CommitOperationAdd(path, content) for path, content in files.items()],
                commit_message=commit_message,
                revision=revision,
                create_pr=create_pr,
                parent_commit=head,  # nothing that others wrote meanwhile is lost
            )
        )


def _evaluator(
    repo_id: str, organization: str | None, relationship: Relationship | None, *, create_pr: bool
) -> Evaluator:
    """Return who measured: the owner, who alone can push without a pull request, or whoever says so."""
    if create_pr and (organization is None or relationship is None):
        raise ArgumentError(
            "create_pr=True: a proposal to a model must say who measured: give organization='…' and "
            "relationship='third_party', 'first_party', 'collaborative' or 'other'"
        )
    return Evaluator(organization or repo_id.split("/")[0], relationship or "first_party")


def _card(api: Any, repo_id: str, revision: str | None) -> str:
    """Return the text of the model's card; empty where it has none."""
    from huggingface_hub.errors import EntryNotFoundError

    try:
        path = api.hf_hub_download(repo_id, README, revision=revision)
    except EntryNotFoundError:
        return ""
    with open(path, encoding="utf-8", newline="") as file:
        return file.read()


@contextmanager
def _told(repo_id: str) -> Iterator[None]:
    """Say what to do where the Hub refuses. Nothing was pushed then: there is one commit, or none."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        LocalTokenNotFoundError,
        RepositoryNotFoundError,
    )

    def error(why: str) -> ReportError:
        return ReportError(f"repo_id={repo_id!r}: {why}. Nothing was pushed")

    try:
        yield
    except GatedRepoError:  # which is a repository that is not found, too
        raise error(
            "the model is gated; ask for access on its page, with the account of your token"
        ) from None
    except RepositoryNotFoundError:
        raise error(
            "there is no such model, or your token cannot see it; create it first (`hf repo create`), and "
            "log in (`hf auth login`)"
        ) from None
    except LocalTokenNotFoundError:
        raise error("there is no token; log in (`hf auth login`), or pass token=") from None
    except HFValidationError as problem:
        raise error(f"it is no valid id ({problem})") from None
    except HfHubHTTPError as problem:
        raise error(_refused(problem)) from problem
    except (LocalEntryNotFoundError, ConnectionError, OSError) as problem:
        raise error(f"the Hub cannot be reached ({type(problem).__name__}: {str(problem)[:200]})") from None


def _refused(problem: Any) -> str:
    status = getattr(getattr(problem, "response", None), "status_code", None)
    if status == 401:
        return "your token is not valid, or there is none; log in (`hf auth login`), or pass token="
    if status == 403:
        return "your token may not write there; use one that may, or propose it with create_pr=True"
    if status in (409, 412):
        return "somebody else changed the repository meanwhile; run it again"
    return f"the Hub refused ({problem})"
