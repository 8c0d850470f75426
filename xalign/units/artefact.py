"""Units and vectors in a folder and on the Hub: `xalign.json`, one safetensors file, and a card."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from msgspec import Struct
from torch import Tensor

from xalign.errors import ArgumentTypeError, UnitsError
from xalign.escape import code, markdown
from xalign.files import read_regular
from xalign.schema import checked, read_json
from xalign.storage import load_folder, save_folder, writable_folder, write_whole

SCHEMA_VERSION = 1
_JSON = "xalign.json"
_CARD = "---\nlibrary_name: xalign\n"
T = TypeVar("T")
Parse = Callable[[dict[str, Any], dict[str, Tensor]], T]


class _Origin(Struct):
    """The entries of a provenance that are used; others may be there."""

    model: str | None = None
    shape: dict[str, str | int | None] | None = None


class Saves(Protocol):
    """An object that can be written into a folder."""

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write it into a folder."""
        ...


def save_artefact(
    folder: str | Path,
    kind: str,
    content: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    parse: Parse[T],
    card: str,
) -> Path:
    """Write an artefact and its card, whole or not at all.

    Raises:
        UnitsError: A folder that cannot be written, or content that JSON cannot hold or `parse` refuses.
    """
    folder = writable_folder(folder, UnitsError)
    if (folder / "README.md").exists() and not (holds_artefact(folder) and _is_card(folder / "README.md")):
        raise UnitsError(
            f"folder={str(folder)!r} has a README.md of something else, which the card would replace; name "
            "another folder"
        )
    save_folder(
        *(folder, _JSON, content, tensors, parse),
        kind=kind,
        schema_version=SCHEMA_VERSION,
        error=UnitsError,
    )
    write_whole(folder / "README.md", card.encode(), UnitsError)
    return folder


def card_of(title: str, provenance: Mapping[str, Any], rest: str) -> str:
    """Write the README of an artefact: what it is and where it comes from.

    Args:
        title: The title, with what is not of this package escaped.
        provenance: Any names and values; they are escaped here.
        rest: What follows, escaped too.
    """
    origin = "\n".join(f"- {markdown(name)}: {code(value)}" for name, value in provenance.items())
    return f"{_CARD}tags: [xalign, steering]\n---\n\n# {title}\n\n{origin or '- made by hand'}\n{rest}"


def checked_provenance(provenance: dict[str, Any]) -> dict[str, Any]:
    """Return a provenance that was read, with the entries that are used checked.

    Raises:
        ArgumentError: An entry of another type.
    """
    checked(_Origin, provenance, "provenance")
    return provenance


def holds_artefact(folder: Path) -> bool:
    """Return whether an artefact was saved in a folder."""
    return (folder / _JSON).exists()


def _is_card(path: Path) -> bool:
    try:
        return read_regular(path)[: len(_CARD)] == _CARD.encode()
    except OSError:
        return False


def kind_of_artefact(source: str | Path, revision: str | None = None) -> str:
    """Return the kind of artefact that a folder or a repository on the Hub says it holds; empty where none.

    Args:
        source: A folder or a Hub id.
        revision: Branch, tag or commit on the Hub.

    Raises:
        UnitsError: It is neither.
    """
    folder = Path(source) if Path(source).is_dir() else _downloaded(str(source), revision)
    try:
        return str(read_json(read_regular(folder / _JSON))["kind"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def load_artefact(
    source: str | Path,
    kind: str,
    parse: Parse[T],
    revision: str | None = None,
) -> T:
    """Read an artefact from a folder, or from the Hub where there is no such folder.

    Args:
        source: A folder or a Hub id.
        kind: The kind of artefact expected there.
        parse: Function that rebuilds the object from the content of the JSON file and the tensors.
        revision: Branch, tag or commit on the Hub.

    Raises:
        ArgumentTypeError: `source` is neither text nor a path.
        UnitsError: Nothing there, another kind or schema, or files that were changed or damaged.
    """
    if not isinstance(source, str | Path):
        raise ArgumentTypeError(f"source must be a folder or a Hub id, not {source!r:.60}")
    folder = Path(source) if Path(source).is_dir() else _downloaded(str(source), revision)
    return load_folder(folder / _JSON, parse, kind=kind, schema_version=SCHEMA_VERSION, error=UnitsError)


def push_artefact(artefact: Saves, repo_id: str, **options: Any) -> str:
    """Save an artefact into a temporary folder, and upload it to the Hub.

    Args:
        artefact: What to upload.
        repo_id: `owner/name`; it is created if it does not exist.
        **options: `private`, `token` and `commit_message`, as huggingface_hub has them.

    Returns:
        The URL of the commit.

    Raises:
        ArgumentTypeError: An unknown option.
    """
    unknown = set(options) - {"private", "token", "commit_message"}
    if unknown:
        raise ArgumentTypeError(f"push_to_hub has no option {', '.join(sorted(unknown))}")
    from huggingface_hub import HfApi

    api = HfApi(token=options.get("token"))
    api.create_repo(repo_id, private=options.get("private"), exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        artefact.save_pretrained(folder)
        return str(
            api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                commit_message=options.get("commit_message", "Upload with xalign"),
            )
        )


def _downloaded(repo_id: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repo_id, revision=revision))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise UnitsError(
            f"source={repo_id!r} is no folder, and not to be had from the Hub ({type(error).__name__}); give "
            "a folder that save_pretrained or `xalign experts` wrote, or a Hub id"
        ) from None
