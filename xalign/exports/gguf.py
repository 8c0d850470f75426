"""`gguf`: a control vector of llama.cpp, which repeng and EasySteer read too."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xalign.errors import ArgumentError
from xalign.exports.affine import affine_of
from xalign.exports.format import Format, Request
from xalign.extras import import_extra
from xalign.model.architectures.sites import Site
from xalign.model.edit import Edit

_KIND = "controlvector"


def write_control_vector(request: Request, path: Path) -> dict[str, Any]:
    """Write a vector for each block from 1 on, which is added to the hidden states after that block.

    `direction.k` is added after block k, counted from 0: our site `k.hidden`. llama.cpp and repeng count
    alike, and llama.cpp has no place for block 0.

    Args:
        request: What to export.
        path: The new file.

    Returns:
        What the provenance says of it.

    Raises:
        ArgumentError: Another site, another change than to add a constant, or an unknown architecture.
        MissingExtraError: gguf is not installed.
    """
    gguf = import_extra("gguf", "gguf", "format='gguf' needs gguf")
    directions = {
        _block(site, request): _direction(site, edit, request) for site, edit in request.edits.items()
    }
    hint = _model_type(request)
    writer = gguf.GGUFWriter(path, _KIND)
    writer.add_string(f"{_KIND}.model_hint", hint)
    writer.add_uint32(f"{_KIND}.layer_count", len(directions))
    for block in sorted(directions):
        writer.add_tensor(f"direction.{block}", directions[block].numpy())
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()
    return {"model_hint": hint, "directions": sorted(directions)}


def _block(site: Site, request: Request) -> int:
    if site.kind != "hidden" or not isinstance(site.layer, int):
        raise ArgumentError(
            f"site {site} cannot be exported as 'gguf': a control vector is added to the hidden states after "
            "a block. Give a vector of sites like '5.hidden', or export units as 'peft' or 'weights'"
        )
    if site.layer == 0:
        raise ArgumentError(
            "site 0.hidden cannot be exported as 'gguf': llama.cpp refuses a control vector of layer 0. "
            "Leave it out, or export as 'lm-eval', 'peft' or 'weights'"
        )
    if site.stack:
        raise ArgumentError(
            f"site {site} is of stack {site.stack!r}, and a control vector knows one stack of blocks only"
        )
    if request.model_map is not None:
        request.model_map.place(site)
    return site.layer


def _direction(site: Site, edit: Edit, request: Request) -> Tensor:
    known = request.provenance.get("shape")
    width = known.get("width") if isinstance(known, dict) else None
    if request.model_map is not None:
        width = request.model_map.place(site).width
    elif edit.indices is None and isinstance(edit.value, Tensor) and edit.value.dim() == 1:
        width = len(edit.value)
    if not isinstance(width, int):
        raise ArgumentError(f"model=None, and the width of site {site} is not known; pass the model")
    edit.resolved.operand.check_width(site, edit.value, width if edit.indices is None else len(edit.indices))
    change = affine_of(site, edit, width)
    if not change.is_offset:
        raise ArgumentError(
            f"operator={edit.resolved.name!r} at site {site} cannot be exported as 'gguf': a control vector "
            "is added, and nothing else. Use operator='add'; 'lm-eval' can project"
        )
    return change.whole_offset().to(torch.float32)


def _model_type(request: Request) -> str:
    """Return the architecture as its config names it, which is what repeng writes."""
    known = request.provenance.get("shape")
    found = known.get("model_type") if isinstance(known, dict) else None
    if request.model_map is not None:
        found = request.model_map.model_type
    if not isinstance(found, str):
        raise ArgumentError(
            "model=None, and the vector does not say of which architecture it is; pass the model"
        )
    return found


GGUF = Format(
    "gguf",
    write_control_vector,
    summary="a control vector of llama.cpp",
    suffixes=(".gguf",),
    needs_model=False,
)
