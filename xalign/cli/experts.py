"""`xalign experts MODEL`."""

import sys
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from xalign.cli.options import (
    Device,
    Dtype,
    DtypeName,
    Json,
    Languages,
    Pairs,
    Revision,
    TrustRemoteCode,
    listed,
    path,
)
from xalign.cli.output import Output

if TYPE_CHECKING:
    from xalign.units.unit_set import UnitSet

_SITES, _SHARE = "inner", 0.02
_SITES_HELP = (
    "Where to look, for methods that look anywhere: inner, gate, linear, …, or one site like 3.inner."
)
_SHARE_HELP = (
    "Share of all units for each language, by default what the method takes; with lape, for all together, "
    f"{_SHARE} by default."
)


def experts(
    model: Annotated[str, typer.Argument(help="Hub id or folder of a model.")],
    out: Annotated[Path, typer.Option(parser=path, help="Folder for the units.")],
    pairs: Pairs = "bundled",
    languages: Languages = None,
    pivot: Annotated[
        str, typer.Option(help="The language the file is translated from, which is always among them.")
    ] = "eng_Latn",
    n: Annotated[int | None, typer.Option(help="Take the first N sentences; all by default.")] = None,
    method: Annotated[str, typer.Option(help="{methods}.")] = "expert_ap",
    sites: Annotated[str, typer.Option(help=_SITES_HELP)] = _SITES,
    share: Annotated[float | None, typer.Option(help=_SHARE_HELP)] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace units that the folder already holds.")
    ] = False,
    revision: Revision = None,
    dtype: Dtype = DtypeName.auto,
    device: Device = "auto",
    trust_remote_code: TrustRemoteCode = False,
    json: Json = False,
) -> None:
    """Find the units that carry each language, and save them for `xalign steer`.

    Prints how many units each language has, the best and the last score, and the sites with most of them.
    With --json, prints the same as a list of objects.

    Example: `xalign experts Qwen/Qwen3-0.6B --pairs flores200/dev --languages deu,swh --out units`
    """
    from xalign.cli.loading import load_model
    from xalign.errors import ArgumentError
    from xalign.finding.find import find_units
    from xalign.pairs.load import load_pairs
    from xalign.units.artefact import holds_artefact

    options = _options(method, sites, share)
    if holds_artefact(out) and not overwrite:
        raise ArgumentError(f"out={str(out)!r} holds units already; give another folder, or --overwrite")
    text = load_pairs(pairs, None if languages is None else listed(languages), pivot, n)
    loaded, tokenizer = load_model(
        model,
        revision=revision,
        dtype=dtype.value,  # type: ignore[arg-type]
        device=device,
        trust_remote_code=trust_remote_code,
        progress=sys.stderr.isatty(),
        is_audio=text.is_audio,
    )
    units = find_units(loaded, tokenizer, text.texts, method, **options)
    written, output, rows = units.save_pretrained(out), Output(json), _rows(units)
    output.show(_table(rows), rows)
    output.say(f"wrote {written}")


def _options(method: str, sites: str, share: float | None) -> dict[str, Any]:
    """Return the options of a method that were given, with defaults for those that it takes.

    The share is that of the command line where the method's own default is a number, and else its own.
    """
    from xalign.errors import ArgumentError
    from xalign.finding import METHODS
    from xalign.finding.method import resolve_method

    found_by = resolve_method(method, METHODS)
    if sites != _SITES and not found_by.takes("sites"):
        able = ", ".join(name for name, other in METHODS.items() if other.takes("sites"))
        raise ArgumentError(f"sites={sites!r} is of method={able}; {method} decides itself where to look")
    share_parameter = signature(found_by.fn).parameters.get("share")
    has_own = share_parameter is not None and share_parameter.default is None
    defaults = {"sites": sites} | ({} if has_own else {"share": _SHARE})
    options = {name: value for name, value in defaults.items() if found_by.takes(name)}
    return options if share is None else options | {"share": share}


def _rows(units: "UnitSet") -> list[dict[str, Any]]:
    """Return what is shown of each language."""
    rows = []
    for label in units.labels:
        own = units[label]
        counts = {str(site): count for (_, site), count in own.columns.counts().items()}
        most = sorted(counts, key=lambda site: -counts[site])[:3]
        scores = {"best": own.rows[0].score, "last": own.rows[-1].score}
        sites = {site: counts[site] for site in most}
        rows.append({"language": label, "units": len(own), **scores, "sites": sites})
    return rows


def _table(rows: list[dict[str, Any]]) -> Table:
    """Return a row per language."""
    from xalign.escape import cell

    table = Table("language", "units", "best", "last", "most frequent sites", box=None)
    for row in rows:
        where = ", ".join(f"{site} ({count})" for site, count in row["sites"].items())
        scores = (f"{row['best']:.3f}", f"{row['last']:.3f}")
        table.add_row(cell(row["language"]), str(row["units"]), *scores, cell(where))
    return table
