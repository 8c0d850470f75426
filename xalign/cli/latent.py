"""`xalign latent MODEL PROMPTS`."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from xalign.cli.options import (
    Device,
    Dtype,
    DtypeName,
    FirstPairs,
    Json,
    Languages,
    Model,
    Overwrite,
    Pairs,
    Pivot,
    Progress,
    Revision,
    TokenBudget,
    TrustRemoteCode,
    path,
)
from xalign.cli.output import Output

Prompts = Annotated[Path, typer.Argument(parser=path, help="Text file with a prompt per line.")]
File = Annotated[Path | None, typer.Option(parser=path, help="JSON file for the numbers; none by default.")]
Purity = Annotated[
    float, typer.Option(help="Share of a token's occurrences that must be in one language; 1: all.")
]


def latent(
    model: Model,
    prompts: Prompts,
    pairs: Pairs = "bundled",
    languages: Languages = None,
    pivot: Pivot = "eng_Latn",
    n: FirstPairs = None,
    purity: Purity = 1.0,
    token_budget: TokenBudget = 4096,
    out: File = None,
    overwrite: Overwrite = False,
    revision: Revision = None,
    dtype: Dtype = DtypeName.auto,
    device: Device = "auto",
    trust_remote_code: TrustRemoteCode = False,
    progress: Progress = None,
    json: Json = False,
) -> None:
    r"""Say in which language a model seems to think, layer by layer.

    Behind each prompt, reads what every layer would predict, and prints how much probability falls on tokens
    of each language, with the entropy in bits. A token is of the language in whose sentences it occurs, and
    in no other's. In a prompt, \n is a new line.

    Example: `xalign latent Qwen/Qwen3-0.6B prompts.txt --pairs flores200/devtest --languages fra,zho_Hans`
    """
    from xalign.cli.loading import load_model, load_text
    from xalign.errors import ArgumentError
    from xalign.pairs.lines import read_lines
    from xalign.probing import latent_language, token_sets

    texts = load_text(pairs, languages, pivot, n).texts
    lines = [line.replace("\\n", "\n") for line in read_lines(prompts) if line.strip()]
    if not lines:
        raise ArgumentError(f"{str(prompts)!r:.120} holds no prompt; write one per line")
    if out is not None and out.exists() and not overwrite:
        raise ArgumentError(f"out={str(out)!r} is there already; give another file, or --overwrite")
    shown = sys.stderr.isatty() if progress is None else progress
    common: Any = {"revision": revision, "dtype": dtype.value, "trust_remote_code": trust_remote_code}
    network, tokenizer = load_model(model, **common, device=device, progress=shown)
    sets = token_sets(tokenizer, texts, purity=purity)
    found = latent_language(network, tokenizer, lines, sets, token_budget=token_budget)
    output = Output(json)
    output.show(found.table(), found.to_rows())
    if out is not None:
        output.say(f"wrote {found.save(out)}")
