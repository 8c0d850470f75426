"""`xalign track RUN`."""

from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from xalign.cli.checkpoints import Checkpoint, Checkpoints, loader
from xalign.cli.options import (
    Device,
    Dtype,
    DtypeName,
    Experts,
    ExpertsName,
    FirstPairs,
    HistoryFolder,
    IncludeEmbedding,
    Json,
    Languages,
    MaxLength,
    MetricsOfHistory,
    NeuronSiteName,
    PairsOfHistory,
    Pivot,
    PoolName,
    PoolOfTokens,
    PoolSpecialTokens,
    SourceCodes,
    Stack,
    StateSite,
    Template,
    TemplatePooled,
    TokenBudget,
    Tokenizer,
    Truncate,
    TrustRemoteCode,
    ValueSite,
    listed,
)
from xalign.cli.output import Output
from xalign.cli.track_words import (
    Attribute,
    SelectorName,
    SelectorOfUnits,
    Words,
    WordSite,
    WordUnits,
    refuse_with_words,
    track_words,
)

if TYPE_CHECKING:
    from xalign.cli.loading import Loaded
    from xalign.pairs.parallel import ParallelPairs
    from xalign.results.history import History
    from xalign.results.report import AlignmentReport

_A_DAY = 86400.0
Revisions = Annotated[
    str | None, typer.Option(help="Revisions of a model with their steps in them, like step1000,step2000.")
]

Follow = Annotated[
    bool, typer.Option("--follow", help="Wait for new checkpoints, until the run ends or Ctrl-C.")
]
Until = Annotated[
    int | None, typer.Option(help="The last step to measure; with --follow, the one to wait for.")
]


def track(
    run: Annotated[str, typer.Argument(help="Folder with checkpoints; with --revisions, a Hub id.")],
    pairs: PairsOfHistory = None,
    languages: Languages = None,
    pivot: Pivot = "eng_Latn",
    n: FirstPairs = None,
    metrics: MetricsOfHistory = None,
    revisions: Revisions = None,
    out: HistoryFolder = None,
    follow: Follow = False,
    poll: Annotated[float, typer.Option(help="Seconds between two looks with --follow.")] = 30.0,
    until: Until = None,
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
    tokenizer: Tokenizer = None,
    dtype: Dtype = DtypeName.auto,
    device: Device = "auto",
    trust_remote_code: TrustRemoteCode = False,
    words: Words = None,
    attribute: Attribute = "upos",
    site: WordSite = None,
    units: WordUnits = 50,
    selector: SelectorOfUnits = SelectorName.gaussian,
    json: Json = False,
) -> None:
    """Measure the checkpoints of a run that were not measured yet, and say when each language emerged.

    Completes the history that a callback left there, with its sentences and settings where its reports were
    kept, or begins one; interrupted, it continues where it was. With --words, says how many of the units that
    carry an attribute of words are shared by languages. With --json, prints rows, and no table.

    Example: `xalign track runs/pretraining --pairs flores200/devtest --languages deu,swh --n 100`
    """
    from xalign.cli.loading import measure_options, refuse_special_files
    from xalign.results.run_folder import run_folder

    asked = measure_options(locals())
    _check_for_all(template, token_budget, tokenizer, device, poll)
    find = Checkpoints(run, None if revisions is None else listed(revisions), out, follow=follow)
    refuse_special_files(folder := out or run_folder(run))
    common: Any = {"tokenizer": tokenizer, "dtype": dtype.value, "trust_remote_code": trust_remote_code}
    load = partial(loader, **common, device=device)
    if words is not None:
        refuse_with_words({"pairs": pairs, "metrics": metrics, "n": n, "follow": follow or None}, asked)
        track_words(Output(json), find, load(), folder, words, languages, attribute, site, units, selector)
        return
    output = _begun(Output(json), run, poll if follow else None)
    text, when = (pairs, languages, pivot, n), {"follow": follow, "poll": poll, "until": until}
    _show_emergence(output, _track(output, find, load, folder, text, metrics, asked, when), folder, run)


def _text_of(
    folder: Path, pairs: str | None, languages: str | None, pivot: str, n: int | None
) -> "ParallelPairs[Any]":
    """Return the sentences to measure on; those of the history where none are named."""
    from xalign.cli.loading import load_text

    before = _last_report(folder)
    kept = before.pairs if before and pairs is None and languages is None and n is None else None
    return kept or load_text("bundled" if pairs is None else pairs, languages, pivot, n)


def _track(
    output: Output,
    find: Checkpoints,
    load: "Callable[..., Callable[[Checkpoint], Loaded]]",
    folder: Path,
    text: tuple[str | None, str | None, str, int | None],
    metrics: str | None,
    asked: dict[str, Any],
    when: dict[str, Any],
) -> "History":
    """Measure the checkpoints, with the settings that were asked for or those of the history."""
    from xalign.monitor.track import track as measure_all

    before, pairs = _last_report(folder), _text_of(folder, *text)
    options = _options(asked, before) | when | {"ended": find.ended, "on_report": partial(_show, output)}
    history = measure_all(
        *(find, load(is_audio=pairs.is_audio), folder, pairs, _asked(metrics, before)), **options
    )
    if when["follow"] and find.last is not None:
        output.say(f"the run ended at step {find.last}")
    return history


def _begun(output: Output, run: str, poll: float | None) -> Output:
    """Say that new checkpoints are waited for, where they are."""
    if poll is not None:
        output.say(f"looking into {run} every {poll:g} s; Ctrl-C ends")
    return output


def _check_poll(poll: float) -> None:
    """Refuse what is no time to wait: `time.sleep` takes no more than some hundred years."""
    from xalign.checks import positive
    from xalign.errors import ArgumentError

    if positive("poll", poll) > _A_DAY:
        raise ArgumentError(f"poll={poll:g} must be at most a day, {_A_DAY:g} seconds")


def _check_for_all(
    template: str | None, token_budget: int, tokenizer: str | None, device: str, poll: float
) -> None:
    """Refuse what would be wrong for every checkpoint, and not for one that could be left out."""
    from xalign.cli.loading import check_text, checked_device, load_tokenizer
    from xalign.errors import ArgumentError
    from xalign.measurement.options import ReadOptions

    _check_poll(poll)
    check_text("template", template)
    if template is not None and template.count("{text}") != 1:
        raise ArgumentError(
            f"template={template!r:.80} must hold {{text}} exactly once, like 'query: {{text}}'"
        )
    ReadOptions(token_budget=token_budget)
    checked_device(device)
    if tokenizer is not None:
        load_tokenizer(tokenizer)


def _last_report(folder: Path) -> "AlignmentReport | None":
    """Return the report of the history's last step; None where there is none, or it was not kept."""
    from xalign.results.history import NAME, History

    history = History(folder / NAME)
    return history.report(history.steps[-1]) if history.entries else None


def _options(asked: dict[str, Any], before: "AlignmentReport | None") -> dict[str, Any]:
    """Return the options that were typed; those of the history where none was."""
    from xalign.measurement.options import ReadOptions
    from xalign.model.inputs import TextOptions

    default = {one.name: one.default for options in (TextOptions, ReadOptions) for one in fields(options)}
    budget = {"token_budget": asked["token_budget"]}
    typed = {name for name, value in asked.items() if value != default[name]} - budget.keys()
    return asked if typed or before is None else _settings_of(before) | budget


def _settings_of(report: "AlignmentReport") -> dict[str, Any]:
    """Return the settings of a report, as far as the command line can repeat them.

    Reports of 0.1.0 do not hold all of them.
    """
    from xalign.measurement.options import ReadOptions
    from xalign.model.inputs import TextOptions
    from xalign.options import COMPARED, must_agree

    read = [one.name for one in fields(ReadOptions) if one.metadata["must_agree"] is None]
    names = [*must_agree(TextOptions, COMPARED), *(name for name in read if name != "token_budget")]
    return {name: report.provenance[name] for name in names if name in report.provenance}


def _asked(metrics: str | None, before: "AlignmentReport | None") -> list[str]:
    """Return the metrics that were asked for, or those of the history.

    Raises:
        ArgumentError: The history has metrics that have no name on the command line.
    """
    from xalign.errors import ArgumentError
    from xalign.metrics import METRICS

    if metrics:
        return listed(metrics)
    if before is None:
        return ["nasca"]
    own = [metric for metric in before.measured if metric not in METRICS]
    if own:
        raise ArgumentError(
            f"the history has metrics of your own, {', '.join(own)}, which the command line does not know: "
            "call xalign.monitor.track.track in Python, which takes them as objects"
        )
    return before.measured


def _show(output: Output, report: "AlignmentReport") -> None:
    """Print a line per report."""
    scores = ", ".join(f"{metric} {report.score(metric):.3f}" for metric in report.measured)
    output.say(f"step {report.step}: {scores}")


def _show_emergence(output: Output, history: "History", folder: Path, run: str) -> None:
    """Print when each language emerged, and where it peaked."""
    from xalign.errors import ArgumentError
    from xalign.results.emergence import emergence

    if not history.entries:
        raise ArgumentError(f"run={run!r}: none of its checkpoints could be measured")
    table = Table("metric", "language", "emerged at", "peak", "at step", "best layer", "last", "", box=None)
    rows = emergence(history)
    for row in (one for one in rows if one["layer"] == "mean"):
        table.add_row(
            row["metric"],
            *(row["language"], "–" if row["emerged_at"] is None else str(row["emerged_at"])),
            *(f"{row['peak']:.3f}", str(row["peak_step"]), str(row["best_layer"]), f"{row['last']:.3f}"),
            "worse since" if row["regressed"] else "",
        )
    output.show(table, rows)
    output.say(f"{len(history)} steps in {folder / 'history.jsonl'}")
