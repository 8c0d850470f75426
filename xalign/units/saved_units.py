"""Unit sets on disk: names in the JSON file, columns in the tensors, and a card."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from xalign.errors import ArgumentError
from xalign.escape import markdown
from xalign.model.architectures.sites import Site
from xalign.schema import Fields, Provenance, Text, checked
from xalign.units.artefact import card_of, checked_provenance
from xalign.units.columns import Columns

KIND = "xalign.UnitSet"
_COLUMNS = {
    "label": torch.int64,
    "site": torch.int64,
    "index": torch.int64,
    "score": torch.float64,
    "value": torch.float64,
}
_KIND_COLUMN = {"kind": torch.int64}


class _UnitFields(Fields):
    labels: list[Text]
    sites: list[Text]
    provenance: Provenance


def content_of(columns: Columns, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the JSON file of a set holds."""
    return {
        "labels": list(columns.labels),
        "sites": list(map(str, columns.sites)),
        "provenance": dict(provenance),
    }


def tensors_of(columns: Columns) -> dict[str, Tensor]:
    """Return the tensors of a set; labels and sites are numbers of the names in the JSON file.

    Without any kind there is no column of kinds, as in files of 0.1.0, which read nothing else.
    """
    dtypes = _COLUMNS | _KIND_COLUMN if columns.kind.any() else _COLUMNS
    return {name: torch.from_numpy(getattr(columns, name).copy()).to(dtype) for name, dtype in dtypes.items()}


def parsed(
    content: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[list[str], list[Site], dict[str, Tensor], dict[str, Any]]:
    """Return labels, sites, columns and provenance of files that were read.

    Raises:
        ArgumentError: Something that such files do not hold.
    """
    found = checked(_UnitFields, content)
    _check_tensors(tensors)
    for name, known in (("label", found.labels), ("site", found.sites)):
        if len(set(known)) != len(known):
            raise ArgumentError(f"{name}s={known!r:.80} has one of them twice")
    sites = [Site.parse(site) for site in found.sites]
    if list(map(str, sites)) != found.sites:
        raise ArgumentError(f"sites={found.sites!r:.80} are not written as xalign writes them")
    return found.labels, sites, dict(tensors), checked_provenance(found.provenance)


def card(columns: Columns, provenance: Mapping[str, Any]) -> str:
    """Return the README of a saved set."""
    table = "\n".join(
        f"| {markdown(label)} | {markdown(str(site))} | {count} |"
        for (label, site), count in columns.counts().items()
    )
    return card_of(
        "Units",
        provenance,
        f"\n| label | site | units |\n|---|---|---|\n{table}\n\n"
        "```python\nfrom xalign import UnitSet\n\n"
        'units = UnitSet.from_pretrained("this repository or folder")\n```\n',
    )


def _check_tensors(tensors: Mapping[str, Tensor]) -> None:
    """Refuse tensors that are not those of a saved set."""
    if tensors.keys() - _KIND_COLUMN.keys() != _COLUMNS.keys():
        raise ArgumentError(f"the columns are {sorted(tensors)}, not {sorted(_COLUMNS)}")
    dtypes = _COLUMNS | _KIND_COLUMN
    for name, column in tensors.items():
        if column.dtype != dtypes[name] or column.shape != tensors["index"].shape or column.dim() != 1:
            raise ArgumentError(
                f"the column {name!r} is {column.dtype} of shape {tuple(column.shape)}; it must be "
                f"{dtypes[name]} [row]"
            )
