"""`xalign measure MODEL`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xalign.cli.options import (
    METRICS,
    CacheFolder,
    Device,
    Dtype,
    DtypeName,
    Experts,
    ExpertsName,
    FirstPairs,
    FormName,
    IncludeEmbedding,
    Json,
    Languages,
    MaxLength,
    MetricList,
    Model,
    NeuronSiteName,
    Overwrite,
    Pairs,
    PictureForm,
    Pivot,
    PoolName,
    PoolOfTokens,
    PoolSpecialTokens,
    Progress,
    ReportFolder,
    Revision,
    SourceCodes,
    Stack,
    StateSite,
    Template,
    TemplatePooled,
    TokenBudget,
    Truncate,
    TrustRemoteCode,
    ValueSite,
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
    form: PictureForm = FormName.png,
    template: Template = None,
    template_pooled: TemplatePooled = False,
    pool_special_tokens: PoolSpecialTokens = True,
    truncate: Truncate = False,
    max_length: MaxLength = None,
    source_codes: SourceCodes = None,
    pool: PoolOfTokens = PoolName.weighted,
    state_site: StateSite = NeuronSiteName.gate,
    value_site: ValueSite = NeuronSiteName.inner,
    experts: Experts = ExpertsName.routed,
    stack: Stack = "",
    include_embedding: IncludeEmbedding = True,
    token_budget: TokenBudget = 4096,
    cache: CacheFolder = None,
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
    from xalign.cli.loading import check_text, load_model, load_text, measure_options
    from xalign.measurement import StateCache
    from xalign.measurement import measure as run
    from xalign.metrics import METRICS as KNOWN
    from xalign.metrics.metric import resolve_metrics

    options = measure_options(locals())
    shown = sys.stderr.isatty() if progress is None else progress
    check_text("template", template)
    names = [
        metric.name for metric in resolve_metrics(listed(metrics), KNOWN)
    ]  # pictures are named after them
    text = load_text(pairs, languages, pivot, n)
    if out is not None:
        _check_out(out, names, overwrite=overwrite, form=form)
    states = None if cache is None else StateCache(cache)  # an error of it comes before the model is loaded
    common: Any = {"revision": revision, "dtype": dtype.value, "trust_remote_code": trust_remote_code}
    loaded = load_model(model, **common, device=device, progress=shown, is_audio=text.is_audio)
    report = run(*loaded, text, names, cache=states, **options, revision=revision, progress=shown)
    _show(report, Output(json), out, overwrite=overwrite, form=form)


def _check_out(out: Path, metrics: list[str], *, overwrite: bool, form: str) -> None:
    """Refuse a folder that cannot be written before anything is measured."""
    from xalign.results.saved import check_folder
    from xalign.views.save import check_heatmaps

    check_heatmaps(check_folder(out, overwrite=overwrite), metrics, overwrite=overwrite, form=form)


def _show(report: "AlignmentReport", output: Output, out: Path | None, *, overwrite: bool, form: str) -> None:
    """Print a report, and save it where a folder is given."""
    from xalign.views.save import save_with_heatmaps

    output.show(report.table(), report.to_rows())
    if out is not None:
        for path in save_with_heatmaps(report, out, overwrite=overwrite, form=form):
            output.say(f"wrote {path}")
