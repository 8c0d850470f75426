"""`xalign export MODEL`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xalign.cli.options import Device, Dtype, DtypeName, Json, Revision, TrustRemoteCode, path
from xalign.cli.output import Output

if TYPE_CHECKING:
    from xalign.exports.format import Format
    from xalign.units.language_vector import LanguageVector
    from xalign.units.unit_set import UnitSet


def export(
    model: Annotated[str, typer.Argument(help="Hub id or folder of the model that is edited.")],
    units: Annotated[
        str,
        typer.Option(help="Folder or Hub id of units, as `xalign experts` saves them, or of a vector."),
    ],
    format: Annotated[str, typer.Option(help="{formats}.")],
    out: Annotated[Path, typer.Option(parser=path, help="The folder, or for gguf and lm-eval the file.")],
    language: Annotated[
        str | None, typer.Option(help="The language whose units are exported, like deu_Latn.")
    ] = None,
    operator: Annotated[
        str | None,
        typer.Option(help="{operators}; of a vector, add or project. By default set, and add of a vector."),
    ] = None,
    strength: Annotated[
        float | None, typer.Option(help="Times the values of the units or the vector, 1 by default.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an export that is already there.")
    ] = False,
    revision: Revision = None,
    dtype: Dtype = DtypeName.auto,
    device: Device = "auto",
    trust_remote_code: TrustRemoteCode = False,
    json: Json = False,
) -> None:
    """Write a language's units or vector in a form that other programs load: they act at every token.

    With --json, prints what was written and how it was tried.

    Example: `xalign export Qwen/Qwen3-0.6B --units units --language deu --format peft --out german`
    """
    from xalign.cli.loading import load_model
    from xalign.exports import FORMATS
    from xalign.exports.format import resolve_format
    from xalign.exports.written import check_target

    chosen = resolve_format(format, FORMATS)
    check_target(out, chosen.suffixes, overwrite=overwrite)
    what = _loaded(units, language)
    loaded, tokenizer = load_model(
        model,
        revision=revision,
        dtype=dtype.value,  # type: ignore[arg-type]
        device=device,
        trust_remote_code=trust_remote_code,
        progress=sys.stderr.isatty(),
    )
    how = {"operator": operator, "strength": strength, "overwrite": overwrite}
    if chosen.saves_tokenizer:
        how["tokenizer"] = tokenizer
    _write(Output(json), what, chosen, out, loaded, **how)


def _write(
    output: Output, what: "UnitSet | LanguageVector", format: "Format", out: Path, model: Any, **how: Any
) -> None:
    """Write the export, and say what was written."""
    from xalign.exports import export as write
    from xalign.exports.written import read_provenance

    with output.no_other_stdout():
        written = write(what, format, out, model, **how)
    output.show_json(read_provenance(written, is_file=bool(format.suffixes)))
    output.say(f"wrote {written}, {format.summary}")


def _loaded(source: str, language: str | None) -> "UnitSet | LanguageVector":
    """Return the units of a language, or the vector, in a folder or repository."""
    from xalign.cli.loading import check_source
    from xalign.errors import ArgumentError
    from xalign.pairs.languages import match_language
    from xalign.units.artefact import kind_of_artefact
    from xalign.units.language_vector import KIND, LanguageVector
    from xalign.units.unit_set import UnitSet

    check_source("units", source)
    is_vector = kind_of_artefact(source) == KIND
    found = (LanguageVector if is_vector else UnitSet).from_pretrained(source)
    labels = found.labels if isinstance(found, UnitSet) else [found.label]
    if language is None:
        if len(labels) > 1:
            raise ArgumentError(f"language=None, and units={source!r} holds several: {', '.join(labels)}")
        return found
    code = match_language(language, labels)
    if code is None:
        raise ArgumentError(f"language={language!r} is not in units={source!r}; there is {', '.join(labels)}")
    return found[code] if isinstance(found, UnitSet) else found
