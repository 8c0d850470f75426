"""`xalign experts MODEL`."""

import sys
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from xalign.cli.options import Device, Dtype, DtypeName, Languages, Pairs, Revision, TrustRemoteCode, listed


def experts(
    model: Annotated[str, typer.Argument(help="Hub id or folder of a model.")],
    out: Annotated[Path, typer.Option(help="Folder for the units.")],
    pairs: Pairs = "bundled",
    languages: Languages = None,
    pivot: Annotated[
        str, typer.Option(help="The language the file is translated from, which is always among them.")
    ] = "eng_Latn",
    n: Annotated[int | None, typer.Option(help="Take the first N sentences; all by default.")] = None,
    method: Annotated[
        str, typer.Option(help="expert_ap: tell a language from the others; lape: fire for few.")
    ] = "expert_ap",
    sites: Annotated[
        str, typer.Option(help="Where expert_ap looks: inner, gate, linear, …, or one site like 3.inner.")
    ] = "inner",
    share: Annotated[
        float, typer.Option(help="Share of all units; for each language with expert_ap, in all with lape.")
    ] = 0.02,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace units that the folder already holds.")
    ] = False,
    revision: Revision = None,
    dtype: Dtype = DtypeName.auto,
    device: Device = "auto",
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Find the units that carry each language, and save them for `xalign steer`.

    Prints how many each language has, the best and the last score, and where most of them stand.

    Example: `xalign experts Qwen/Qwen3-0.6B --pairs flores200/dev --languages deu,swh --out units`
    """
    from xalign.cli.loading import load_model
    from xalign.errors import ArgumentError
    from xalign.finding.find import find_units
    from xalign.pairs.load import load_pairs
    from xalign.units.artefact import holds_artefact

    if method != "expert_ap" and sites != "inner":
        raise ArgumentError(f"sites={sites!r} is of method=expert_ap; {method} looks at inner")
    if holds_artefact(out) and not overwrite:
        raise ArgumentError(f"out={str(out)!r} holds units already; give another folder, or --overwrite")
    text = load_pairs(pairs, None if languages is None else listed(languages), pivot, n).texts
    loaded, tokenizer = load_model(
        model,
        revision=revision,
        dtype=dtype.value,  # type: ignore[arg-type]
        device=device,
        trust_remote_code=trust_remote_code,
        progress=sys.stderr.isatty(),
    )
    options = {"sites": sites} if method == "expert_ap" else {}
    units = find_units(loaded, tokenizer, text, method, share=share, **options)  # type: ignore[arg-type]
    table = Table("language", "units", "best", "last", "most stand in", box=None)
    for label in units.labels:
        rows = units[label].rows
        most = Counter(str(row.site) for row in rows).most_common(3)
        scores = (f"{rows[0].score:.3f}", f"{rows[-1].score:.3f}")
        where = ", ".join(f"{site} ({count})" for site, count in most)
        table.add_row(label, str(len(rows)), *scores, where)
    console = Console()
    console.print(table)
    console.print(f"wrote {units.save_pretrained(out)}", markup=False)
