"""Options that several commands take: which model, which text, and how it is measured.

Their defaults repeat those of `TextOptions` and `ReadOptions`, because importing those would import torch
before the command line is even read. A test compares them.
"""

import os
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


def path(value: str | Path) -> Path:
    """Return a path that was given, and refuse what the system takes for none.

    An empty one is refused because it would mean the working folder.
    """
    if not str(value):
        raise typer.BadParameter("it is empty; name a folder or a file, like 'results'")
    try:
        os.stat(value)
    except (FileNotFoundError, NotADirectoryError, PermissionError):  # said by what reads or writes there
        pass
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{str(value)!r:.80} is no path: {error!s:.40}") from None
    return Path(value)


def seed_up_to(most: int) -> Callable[[int], int]:
    """Return a check that a seed is between 0 and `most`.

    typer's own check would print the largest number in the help, where it tells nobody anything.
    """

    def check(value: int) -> int:
        if not 0 <= value <= most:
            raise typer.BadParameter(f"{value} is not between 0 and {most}")
        return value

    return check


DtypeName = StrEnum("DtypeName", ["auto", "float32", "bfloat16", "float16"])
PoolName = StrEnum("PoolName", ["weighted", "last", "mean", "max", "first"])
NeuronSiteName = StrEnum("NeuronSiteName", ["gate", "inner"])
ExpertsName = StrEnum("ExpertsName", ["routed", "shared"])
FormName = StrEnum("FormName", ["png", "svg", "pdf"])

Model = Annotated[str, typer.Argument(help="Hub id or folder of a model.")]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit on the Hub.")]
Dtype = Annotated[
    DtypeName,
    # As a type, the four names would take the width that the help needs.
    typer.Option(
        metavar="<str>", help=f"Type of the weights: {', '.join(DtypeName)}. auto keeps the checkpoint's."
    ),
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, …; auto takes a GPU where there is one.")]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run code that comes with the model.")
]
Pairs = Annotated[
    str,
    typer.Option(
        help="'bundled', 'hf:owner/name', a folder of line-aligned files, a .tsv, .jsonl or .tmx file."
    ),
]
PairsOfHistory = Annotated[
    str | None,
    typer.Option(help="As for measure; by default what the history was measured on, or 'bundled'."),
]
Languages = Annotated[
    str | None,
    typer.Option(help="Codes separated by commas, like deu_Latn,sw; all there are by default."),
]
Pivot = Annotated[str, typer.Option(help="Language the others are compared with.")]
FirstPairs = Annotated[int | None, typer.Option(help="Take the first N pairs; all by default.")]
METRICS = "nasca,navca,mexa,retrieval"
MetricList = Annotated[
    str,
    # The help breaks a line only at a space.
    typer.Option(help="From {metrics}; separated by commas.", show_default=METRICS.replace(",", ", ")),
]
MetricsOfHistory = Annotated[
    str | None,
    typer.Option(help="As for measure; by default those of the history, or nasca."),
]
Template = Annotated[str | None, typer.Option(help="Text around each sentence, like 'query: {text}'.")]
TemplatePooled = Annotated[bool, typer.Option("--template-pooled", help="Pool the template's tokens too.")]
Truncate = Annotated[bool, typer.Option("--truncate", help="Cut sentences longer than the model's context.")]
MaxLength = Annotated[int | None, typer.Option(help="Cut sentences to this many tokens.")]
PoolSpecialTokens = Annotated[
    bool,
    typer.Option(" /--no-special-tokens", help="Leave out what the tokenizer adds.", show_default=False),
]
PoolOfTokens = Annotated[
    PoolName,
    typer.Option(metavar="<str>", help=f"How tokens are pooled: {', '.join(PoolName)}."),
]
StateSite = Annotated[
    NeuronSiteName, typer.Option(metavar="<str>", help="Where nasca reads neurons: gate or inner.")
]
ValueSite = Annotated[
    NeuronSiteName, typer.Option(metavar="<str>", help="Where navca reads neurons: inner or gate.")
]
Experts = Annotated[
    ExpertsName, typer.Option(metavar="<str>", help="Neurons read in mixtures: routed or shared.")
]
Stack = Annotated[str, typer.Option(help="Stack of blocks, like decoder; the first by default.")]
SourceCodes = Annotated[
    str | None,
    typer.Option(help="Codes of the tokenizer where they cannot be told, like nso_Latn=ns,swh=sw."),
]
IncludeEmbedding = Annotated[
    bool,
    typer.Option(" /--no-embedding", help="Leave the embedding out of hidden states.", show_default=False),
]
TokenBudget = Annotated[int, typer.Option(help="Most tokens of a forward, padding included.")]
CacheFolder = Annotated[
    Path | None,
    typer.Option(parser=path, help="Keep states in this folder, and do not read those that it holds."),
]
ReportFolder = Annotated[
    Path | None,
    typer.Option(parser=path, help="Save report and heatmaps in this folder; nothing is saved by default."),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace a report that the folder already holds.")
]
PictureForm = Annotated[
    FormName,
    typer.Option(metavar="<str>", help="Form of pictures: png, or svg and pdf, which can be scaled."),
]
HistoryFolder = Annotated[
    Path | None, typer.Option(parser=path, help="Folder of the history; RUN/alignment by default.")
]
Tokenizer = Annotated[
    str | None, typer.Option(help="Hub id or folder of a tokenizer, where the checkpoints have none.")
]
Json = Annotated[
    bool, typer.Option("--json", help="Print the numbers as JSON on stdout, and all else on stderr.")
]
Progress = Annotated[
    bool | None, typer.Option(help="Show progress bars; by default where stderr is a terminal.")
]


def listed(text: str) -> list[str]:
    """Split a list at its commas.

    Example:
        >>> listed("deu_Latn, sw")
        ['deu_Latn', 'sw']
    """
    return [part.strip() for part in text.split(",")]
