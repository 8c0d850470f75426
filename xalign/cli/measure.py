"""`xalign measure MODEL`."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from xalign.cli.options import (
    Device,
    Dtype,
    DtypeName,
    FirstPairs,
    Languages,
    Pairs,
    Pivot,
    Revision,
    Template,
    TemplatePooled,
    TokenBudget,
    TrustRemoteCode,
    listed,
)


def measure(
    model: Annotated[str, typer.Argument(help="Hub id or folder of a model.")],
    pairs: Pairs = "bundled",
    languages: Languages = None,
    pivot: Pivot = "eng_Latn",
    n: FirstPairs = None,
    metrics: Annotated[
        str, typer.Option(help="From nasca, navca, mexa, retrieval, margin; separated by commas.")
    ] = "nasca,navca,mexa,retrieval",
    out: Annotated[
        Path | None,
        typer.Option(help="Save report and heatmaps in this folder; nothing is saved by default."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a report that the folder already holds.")
    ] = False,
    template: Template = None,
    template_pooled: TemplatePooled = False,
    truncate: Annotated[
        bool, typer.Option("--truncate", help="Cut sentences longer than the model's context.")
    ] = False,
    token_budget: TokenBudget = 4096,
    revision: Revision = None,
    dtype: Dtype = DtypeName.auto,
    device: Device = "auto",
    trust_remote_code: TrustRemoteCode = False,
    progress: Annotated[
        bool | None, typer.Option(help="Show progress bars; by default where stderr is a terminal.")
    ] = None,
) -> None:
    """Measure how well a model lines languages up with a pivot language.

    Prints a line per language and metric: the score with its 95 % interval, whether it lies above, at or
    below the lexical floor (what shared tokens alone give), the best layer, and what the tokenizer makes of
    the language.

    Example: `xalign measure Qwen/Qwen3-0.6B --pairs flores200/devtest --languages deu,swh --n 100 --out
        report`
    """
    from xalign.cli.loading import load_model
    from xalign.measurement import measure as run
    from xalign.pairs.load import load_pairs
    from xalign.results.saved import check_folder
    from xalign.views.save import save_with_heatmaps

    shown = sys.stderr.isatty() if progress is None else progress
    text = load_pairs(pairs, None if languages is None else listed(languages), pivot, n)
    if out is not None:
        check_folder(out, overwrite=overwrite)
    loaded, tokenizer = load_model(
        model,
        revision=revision,
        dtype=dtype.value,  # type: ignore[arg-type]
        device=device,
        trust_remote_code=trust_remote_code,
        progress=shown,
    )
    report = run(
        loaded,
        tokenizer,
        text,
        listed(metrics),
        template=template,
        template_pooled=template_pooled,
        truncate=truncate,
        token_budget=token_budget,
        revision=revision,
        progress=shown,
    )
    console = Console()
    console.print(report.table())
    if out is not None:
        for path in save_with_heatmaps(report, out, overwrite=overwrite):
            console.print(f"wrote {path}", markup=False)
