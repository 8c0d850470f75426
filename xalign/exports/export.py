"""`export`: units, vectors and interventions in forms that other programs load."""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from torch import nn

from xalign.checks import boolean
from xalign.errors import ArgumentError
from xalign.exports.format import Format, Request, resolve_format
from xalign.exports.written import SCHEMA_VERSION, check_target, encoded, new_target
from xalign.extras import distribution_name
from xalign.model.architectures.map import map_model
from xalign.model.architectures.sites import Site
from xalign.model.edit import Edit
from xalign.model.operators import OperatorLike
from xalign.model.positions import Positions, check_positions
from xalign.model.wrapped import unwrapped
from xalign.steering.intervention import Intervention
from xalign.steering.steer import edits_of
from xalign.units.compatibility import check_compatible
from xalign.units.language_vector import LanguageVector
from xalign.units.unit_set import UnitSet


def export(
    what: UnitSet | LanguageVector | Intervention,
    format: str | Format,
    path: str | Path,
    model: nn.Module | None = None,
    *,
    operator: OperatorLike | None = None,
    strength: float | None = None,
    positions: Positions | None = None,
    tokenizer: Any = None,
    overwrite: bool = False,
) -> Path:
    """Write what `steer` would do, at every token, in a form that other programs load.

    The export is tried before it is written: the model is run on two short lines with the hooks of `steer`
    and with what is exported, and both must agree. The model is left as it was, to the bit.

    Args:
        what: Units, vectors or an intervention, as for `steer`.
        format: `"peft"`, an adapter; `"weights"`, an edited checkpoint; `"gguf"`, a control vector of
            llama.cpp; `"lm-eval"`, a file for the `steered` model of lm-evaluation-harness; or a `Format`.
        path: The folder, or for `"gguf"` and `"lm-eval"` the file. Parent folders are created.
        model: The model that is edited, of the class that will load the export. `"gguf"` can do without.
        operator: As for `steer`.
        strength: As for `steer`.
        positions: As for `steer`. Only `"all"` can be exported.
        tokenizer: A tokenizer to save beside edited weights.
        overwrite: Replace an earlier export at the path.

    Returns:
        The path. Its provenance is beside it: `xalign_export.json` in a folder, `NAME.json` beside a file.

    Raises:
        ArgumentError: What the format cannot express, such as other positions or an operator that is not an
            affine function; or something that is at the path already. The error says what to do instead.
        ModelError: A site without a weight beside it, a model whose weights cannot be edited, or an export
            that does not do what the hooks do.
        UnitsError: Units found in a model of another shape, or a path that cannot be written.
        MissingExtraError: The format needs a package that is not installed.

    Example:
        >>> import tempfile
        >>> units = UnitSet.from_rows([("deu_Latn", "1.inner", 7, 0.9, 2.5)])
        >>> folder = Path(tempfile.mkdtemp()) / "german"
        >>> export(units, "weights", folder, model, strength=2.0).name
        'german'
    """
    from xalign.exports import FORMATS

    chosen = resolve_format(format, FORMATS)
    boolean("overwrite", overwrite)
    edits = edits_of(what, operator, strength)
    _check_positions(what, positions)
    target = check_target(path, chosen.suffixes, overwrite=overwrite)
    request = _request(what, edits, chosen, model, tokenizer)
    facts = _facts(request, chosen, target, strength)
    encoded(facts)  # what JSON cannot hold is refused before the work
    with new_target(target, chosen.suffixes, facts, overwrite=overwrite) as beside:
        facts |= dict(chosen.write(request, beside) or {})
    return target


def _facts(request: Request, format: Format, path: Path, strength: float | None) -> dict[str, Any]:
    """Return the provenance of an export, as far as it is known before it is written."""
    edits = [
        {
            "site": str(site),
            "operator": edit.resolved.name,
            "strength": strength,
            "units": "all" if edit.units is None else len(edit.units),
        }
        for site, edit in request.edits.items()
    ]
    return {
        "kind": "xalign.Export",
        "schema_version": SCHEMA_VERSION,
        "format": format.name,
        "path": path.name,
        "name": request.name,
        "edits": edits,
        "model": None if request.model_map is None else request.model_map.name,
        "found_in": dict(request.provenance),
        "versions": dict(_versions()),
    }


def _check_positions(what: object, positions: Positions | None) -> None:
    own: Positions = what.positions if isinstance(what, Intervention) else "all"
    named = own if positions is None else positions
    check_positions(named)
    if not isinstance(named, str) or named != "all":
        raise ArgumentError(
            f"positions={named!r:.60} cannot be exported: weights and vectors in other programs act at "
            "every token. Give positions='all', with a strength that was calibrated there (calibrate(..., "
            "positions=['all'])), or keep to steer()"
        )


def _request(
    what: UnitSet | LanguageVector | Intervention,
    edits: Mapping[Site, Edit],
    format: Format,
    model: nn.Module | None,
    tokenizer: Any,
) -> Request:
    """Return what is to be written, with the model checked."""
    if tokenizer is not None and not format.saves_tokenizer:
        raise ArgumentError(
            f"tokenizer={tokenizer!r:.40} is not saved by format={format.name!r}; leave it away"
        )
    if model is None and format.needs_model:
        raise ArgumentError(
            f"model=None: format={format.name!r} needs the model; pass the one that is edited"
        )
    name = _name_of(what)
    if model is None:
        return Request(name, edits, what.provenance, tokenizer=tokenizer)
    inner = unwrapped(model)
    model_map = map_model(inner)
    check_compatible(what.provenance, model_map)
    return Request(name, edits, what.provenance, inner, model_map, tokenizer)


def _name_of(what: UnitSet | LanguageVector | Intervention) -> str:
    if isinstance(what, UnitSet):
        return ", ".join(what.labels)
    return what.label if isinstance(what, LanguageVector) else what.name


@cache
def _versions() -> dict[str, str]:
    found = {}
    for name in (distribution_name(), "torch", "transformers", "peft", "gguf"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
