"""`Format`: a form in which an edit leaves xalign, and `Request`, what is to be written in it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from xalign.checks import function_of
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.model.architectures.map import ModelMap
from xalign.model.architectures.sites import Site
from xalign.model.edit import Edit


@dataclass(frozen=True, slots=True)
class Request:
    """What is exported.

    Attributes:
        name: The labels of the units or of the vector, or the name of the intervention.
        edits: The edit of each site, at every token.
        provenance: Where the units or vectors come from.
        model: The model that they are for, without wrappers; None where none was given.
        model_map: Its map; None where there is no model.
        tokenizer: Its tokenizer, where one was given.
    """

    name: str
    edits: Mapping[Site, Edit]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    model: nn.Module | None = None
    model_map: ModelMap | None = None
    tokenizer: Any = None

    def needed_model(self) -> tuple[nn.Module, ModelMap]:
        """Return the model and its map.

        Raises:
            ArgumentError: None was given.
        """
        if self.model is None or self.model_map is None:
            raise ArgumentError("model=None: this export needs the model; pass the one that is edited")
        return self.model, self.model_map


Write = Callable[[Request, Path], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Format:
    """A form in which edits are exported. One line in `FORMATS` makes it known by name.

    Attributes:
        name: What users type.
        write: (request, path) -> facts. Writes a new folder or a new file at the path, and returns what the
            provenance is to say of it, as JSON holds it. It raises an error for what it cannot express, and
            leaves the model as it was.
        summary: What it is, in a few words.
        suffixes: The endings that its file may have; empty where it writes a folder.
        needs_model: Whether the model must be given.
        saves_tokenizer: Whether it takes a tokenizer to save beside the weights.

    Raises:
        ArgumentTypeError: A name that is not text, or a `write` that is not a function.

    Example:
        >>> def write_sites(request, path):
        ...     path.write_text(str([str(site) for site in request.edits]))
        ...     return {"sites": len(request.edits)}
        >>> Format("sites", write_sites, suffixes=(".txt",)).needs_model
        True
    """

    name: str
    write: Write
    summary: str = ""
    suffixes: tuple[str, ...] = ()
    needs_model: bool = True
    saves_tokenizer: bool = False

    def __post_init__(self) -> None:
        """Check types."""
        if not isinstance(self.name, str) or not self.name:
            raise ArgumentTypeError(f"name={self.name!r:.60} must be text, like 'peft'")
        function_of("write", self.write, "request", "path")


def resolve_format(format: object, known: Mapping[str, Format]) -> Format:
    """Return the format meant by a name or a `Format`.

    Args:
        format: What the user gave.
        known: Name -> format.

    Raises:
        ArgumentError: Another name, or neither.
    """
    if isinstance(format, Format):
        return format
    if isinstance(format, str) and format in known:
        return known[format]
    raise ArgumentError(f"format={format!r:.60} must be one of {', '.join(known)}, or a Format")
