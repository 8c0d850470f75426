"""`xalign measure MODEL`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from xalign.cli.options import (
    METRICS,
    Device,
    Dtype,
    DtypeName,
    FirstPairs,
    Json,
    Languages,
    MetricList,
    Model,
    Overwrite,
    Pairs,
    Pivot,
    Progress,
    ReportFolder,
    Revision,
    Template,
    TemplatePooled,
    TokenBudget,
    Truncate,
    TrustRemoteCode,
    listed,
)
from xalign.cli.output import Output

if TYPE_CHECKING:
    from xalign.results.report import AlignmentReport


def measure(
    model: Model,
    pairs: Pairs = "bundled",
    languages: Languages = None,
    pivot: Pivot = "eng_Latn",
    n: FirstPairs = None,
    metrics: MetricList = METRICS,
    out: ReportFolder = None,
    overwrite: Overwrite = False,
    template: Template = None,
    template_pooled: TemplatePooled = False,
    truncate: Truncate = False,
    token_budget: TokenBudget = 4096,
    revision: Revision = None,
    dtype: Dtype = DtypeName.auto,
    device: Device = "auto",
    trust_remote_code: TrustRemoteCode = False,
    progress: Progress = None,
    json: Json = False,
) -> None:
    """Measure how well a model lines languages up with a pivot language.

    Prints a line per language and metric: the score with its 95 % interval, whether all of it lies above (>)
    the lexical floor (what shared tokens alone give) and chance, below (<) one of them, or neither (~), the
    best layer, and what the tokenizer makes of the language. With --json, prints the rows of
    `AlignmentReport.to_rows` instead.

    Example: `xalign measure Qwen/Qwen3-0.6B --pairs flores200/devtest --languages deu,swh --out report`
    """
    from xalign.cli.loading import check_text, load_model, load_text
    from xalign.measurement import measure as run
    from xalign.metrics import METRICS as KNOWN
    from xalign.metrics.metric import resolve_metrics
    from xalign.results.saved import check_folder
    from xalign.views.save import check_heatmaps

    shown = sys.stderr.isatty() if progress is None else progress
    check_text("template", template)
    resolve_metrics(listed(metrics), KNOWN)  # pictures are named after them
    text = load_text(pairs, languages, pivot, n)
    if out is not None:
        check_heatmaps(check_folder(out, overwrite=overwrite), listed(metrics), overwrite=overwrite)
    loaded, tokenizer = load_model(
        model,
        revision=revision,
        dtype=dtype.value,  # type: ignore[arg-type]
        device=device,
        trust_remote_code=trust_remote_code,
        progress=shown,
    )
    report = run(
        *(loaded, tokenizer, text, listed(metrics)),
        template=template,
        template_pooled=template_pooled,
        truncate=truncate,
        token_budget=token_budget,
        revision=revision,
        progress=shown,
    )
    _show(report, Output(json), out, overwrite=overwrite)


def _show(report: "AlignmentReport", output: Output, out: Path | None, *, overwrite: bool) -> None:
    """Print a report, and save it where a folder is given."""
    from xalign.views.save import save_with_heatmaps

    output.show(report.table(), report.to_rows())
    if out is not None:
        for path in save_with_heatmaps(report, out, overwrite=overwrite):
            output.say(f"wrote {path}")
