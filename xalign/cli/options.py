"""Options that several commands take: which model and how, which text."""

from enum import StrEnum
from typing import Annotated

import typer

DtypeName = StrEnum("DtypeName", ["auto", "float32", "bfloat16", "float16"])

Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit on the Hub.")]
Dtype = Annotated[DtypeName, typer.Option(help="Type of the weights; auto keeps the checkpoint's.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, …; auto takes a GPU where there is one.")]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run code that comes with the model.")
]
Pairs = Annotated[
    str, typer.Option(help="'bundled', a folder of line-aligned files, a .tsv or a .jsonl file.")
]
Languages = Annotated[
    str | None,
    typer.Option(help="Codes separated by commas, like deu_Latn,sw; all there are by default."),
]
Pivot = Annotated[str, typer.Option(help="Language the others are compared with.")]
FirstPairs = Annotated[int | None, typer.Option(help="Take the first N pairs; all by default.")]
Template = Annotated[str | None, typer.Option(help="Text around each sentence, like 'query: {text}'.")]
TemplatePooled = Annotated[bool, typer.Option("--template-pooled", help="Pool the template's tokens too.")]
TokenBudget = Annotated[int, typer.Option(help="Most tokens of a forward, padding included.")]


def listed(text: str) -> list[str]:
    """What stands between commas."""
    return [part.strip() for part in text.split(",")]
