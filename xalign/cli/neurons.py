"""`xalign neurons MODEL`."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from xalign.cli.options import (
    Device,
    Dtype,
    DtypeName,
    Experts,
    ExpertsName,
    FirstPairs,
    Json,
    Languages,
    Model,
    Overwrite,
    Pairs,
    Pivot,
    Progress,
    Revision,
    Template,
    TokenBudget,
    Truncate,
    TrustRemoteCode,
    path,
)
from xalign.cli.output import Output

Folder = Annotated[
    Path | None, typer.Option(parser=path, help="Folder for sharing.json and kinds.json; none by default.")
]
Share = Annotated[float, typer.Option(help="Share of all neurons that are selected for languages.")]


def neurons(
    model: Model,
    pairs: Pairs = "bundled",
    languages: Languages = None,
    pivot: Pivot = "eng_Latn",
    n: FirstPairs = None,
    share: Share = 0.01,
    template: Template = None,
    truncate: Truncate = False,
    experts: Experts = ExpertsName.routed,
    token_budget: TokenBudget = 4096,
    out: Folder = None,
    overwrite: Overwrite = False,
    revision: Revision = None,
    dtype: Dtype = DtypeName.auto,
    device: Device = "auto",
    trust_remote_code: TrustRemoteCode = False,
    progress: Progress = None,
    json: Json = False,
) -> None:
    """Say which neurons languages share, layer by layer.

    Prints, for each layer, the share of neurons that a sentence activates in all languages, in several, in
    one and in none, beside the share expected if each language picked as many at random. Then prints how
    many neurons fire for one language, for several and for all, and the stages of depth that follow.

    Example: `xalign neurons Qwen/Qwen3-0.6B --pairs flores200/devtest --languages deu,swh --n 100`
    """
    from xalign.cli.loading import check_text, load_model, load_text
    from xalign.model.encode import fill_template
    from xalign.probing import neuron_kinds, neuron_sharing

    check_text("template", template)
    text = load_text(pairs, languages, pivot, n)
    sentences = {
        code: [fill_template(template, one, code, str(row))[0] for row, one in enumerate(own)]
        for code, own in text.texts.items()
    }
    files = _checked(out, overwrite)
    shown = sys.stderr.isatty() if progress is None else progress
    common: Any = {"revision": revision, "dtype": dtype.value, "trust_remote_code": trust_remote_code}
    loaded = load_model(model, **common, device=device, progress=shown)
    options: Any = {"truncate": truncate, "token_budget": token_budget, "experts": experts.value}
    sharing = neuron_sharing(*loaded, sentences, **options)
    kinds = neuron_kinds(*loaded, sentences, share=share, **options)
    output = Output(json)
    output.show(sharing.table(), {"sharing": sharing.to_rows(), "kinds": kinds.to_rows()})
    if not json:
        output.console.print(kinds.table())
    for found, file in zip((sharing, kinds), files, strict=False):
        output.say(f"wrote {found.save(file)}")


def _checked(out: Path | None, overwrite: bool) -> list[Path]:
    """Return the files to write; refuse a folder that holds them, before anything is measured."""
    from xalign.errors import ArgumentError, ReportError
    from xalign.storage import writable_folder

    if out is None:
        return []
    files = [writable_folder(out, ReportError) / name for name in ("sharing.json", "kinds.json")]
    if not overwrite and any(file.exists() for file in files):
        raise ArgumentError(f"out={str(out)!r} holds neurons already; give another folder, or --overwrite")
    return files
