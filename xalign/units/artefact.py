"""Units and vectors on disk and the Hub: `xalign.json` beside one safetensors file, whole or not at all."""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from xalign.disk import values_file, writable_folder, write_whole
from xalign.errors import ArgumentTypeError, UnitsError

SCHEMA_VERSION = 1
_JSON = "xalign.json"


def save_artefact(
    folder: str | Path, kind: str, content: Mapping[str, Any], tensors: Mapping[str, Tensor], card: str
) -> Path:
    """Writes the tensors under a name made from their content, then the JSON that names them, then the card.

    What an interruption leaves is the old artefact or the new one.

    Raises:
        UnitsError: A folder that cannot be written, or content that JSON cannot hold.
    """
    folder = writable_folder(folder, UnitsError)
    if (folder / "README.md").exists() and not holds_artefact(folder):
        raise UnitsError(
            f"folder={str(folder)!r} has a README.md of something else, which the card would replace; name "
            "another folder"
        )
    data = safetensors.torch.save({name: values.contiguous() for name, values in tensors.items()})
    digest = hashlib.sha256(data).hexdigest()
    values = {"file": f"values-{digest[:12]}.safetensors", "sha256": digest}
    body = {"schema_version": SCHEMA_VERSION, "kind": kind, **content, "values": values}
    try:
        text = json.dumps(body | {"sha256": _digest(body)}, ensure_ascii=False, indent=1, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UnitsError(f"provenance holds what JSON cannot: {error}; nothing was written") from None
    replaced = values_file(folder / _JSON)
    write_whole(folder / values["file"], data)
    write_whole(folder / _JSON, text.encode())
    write_whole(folder / "README.md", card.encode())
    if replaced is not None and replaced.name != values["file"]:
        replaced.unlink(missing_ok=True)
    return folder


def card_of(title: str, provenance: Mapping[str, Any], rest: str) -> str:
    """The page that stands beside an artefact: what it is and where it comes from."""
    origin = "\n".join(f"- {name}: `{value}`" for name, value in provenance.items())
    return (
        "---\nlibrary_name: xalign\ntags: [xalign, steering]\n---\n\n"
        f"# {title}\n\n{origin or '- made by hand'}\n{rest}"
    )


def holds_artefact(folder: Path) -> bool:
    """Whether something was saved in a folder."""
    return (folder / _JSON).exists()


def load_artefact(
    source: str | Path, kind: str, revision: str | None = None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The content and the tensors of an artefact in a folder, or on the Hub where no such folder is.

    Raises:
        UnitsError: Nothing there, another kind or schema, or files that are not what was saved.
    """
    if not isinstance(source, str | Path):
        raise ArgumentTypeError(f"source must be a folder or a Hub id, not {source!r:.60}")
    folder = Path(source) if Path(source).is_dir() else _downloaded(str(source), revision)
    path = folder / _JSON
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        said = body.pop("sha256")
        if body["kind"] != kind or body["schema_version"] != SCHEMA_VERSION:
            raise UnitsError(
                f"{path} is {body['kind']} of schema {body['schema_version']}; this reads {kind} of schema "
                f"{SCHEMA_VERSION}"
            )
        data = (folder / Path(body["values"]["file"]).name).read_bytes()
        if said != _digest(body) or hashlib.sha256(data).hexdigest() != body["values"]["sha256"]:
            raise UnitsError(
                f"{path}: the files are not what was saved, their sha256 differ; save them again"
            )
        return body, safetensors.torch.load(data)
    except UnitsError:
        raise
    except FileNotFoundError as error:
        raise UnitsError(
            f"{str(folder)!r} holds no {Path(error.filename or _JSON).name}; give a folder that "
            "save_pretrained or `xalign experts` wrote"
        ) from None
    except (
        *(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError),
        safetensors.SafetensorError,
    ) as error:
        raise UnitsError(
            f"{path} is broken ({type(error).__name__}: {error!s:.200}); save it again"
        ) from None


def push_artefact(folder_of: Any, repo_id: str, **options: Any) -> str:
    """Saves an artefact into a passing folder and uploads it to the Hub.

    Args:
        folder_of: What has `save_pretrained`.
        repo_id: `owner/name`; made where it does not exist.
        **options: `private`, `token` and `commit_message`, as huggingface_hub has them.

    Returns:
        The address of the commit.
    """
    unknown = set(options) - {"private", "token", "commit_message"}
    if unknown:
        raise ArgumentTypeError(f"push_to_hub has no option {', '.join(sorted(unknown))}")
    from huggingface_hub import HfApi

    api = HfApi(token=options.get("token"))
    api.create_repo(repo_id, private=options.get("private"), exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        folder_of.save_pretrained(folder)
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


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, allow_nan=False).encode()).hexdigest()
