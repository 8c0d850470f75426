"""`xalign bench steer MODEL`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xalign.cli.options import (
    Device,
    Dtype,
    DtypeName,
    FirstPairs,
    Json,
    Languages,
    Model,
    Pairs,
    Pivot,
    Revision,
    TrustRemoteCode,
    listed,
    path,
)
from xalign.cli.output import Output

if TYPE_CHECKING:
    from xalign.judging.bench import Standing


def steer(
    model: Model,
    out: Annotated[Path, typer.Option(parser=path, help="Folder for bench.json and bench.png.")],
    pairs: Pairs = "bundled",
    languages: Languages = None,
    pivot: Pivot = "eng_Latn",
    n: FirstPairs = None,
    methods: Annotated[
        str | None, typer.Option(help="Names separated by commas; all by default. A wrong name lists them.")
    ] = None,
    prompt: Annotated[
        str, typer.Option(help="What the model is given of a sentence, with {text} in its place.")
    ] = "{text}",
    max_new_tokens: Annotated[int, typer.Option(help="The longest continuation.")] = 32,
    stop: Annotated[str | None, typer.Option(help="A token that ends a continuation, too.")] = None,
    seeds: Annotated[int, typer.Option(help="How often the pairs are dealt anew.")] = 3,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bench that is there.")] = False,
    revision: Revision = None,
    dtype: Dtype = DtypeName.auto,
    device: Device = "auto",
    trust_remote_code: TrustRemoteCode = False,
    json: Json = False,
) -> None:
    """Compare ways to steer a model to each language: on the same pairs, with one judge, beside controls.

    Half of the pairs are to find with, a quarter to choose strength and positions with, and a quarter to
    judge. The table is sorted by the harmonic mean of two shares: outputs in the language, and outputs that
    keep the meaning. With --json, prints the ranking as a list of objects.

    Example: `xalign bench steer Qwen/Qwen3-0.6B --pairs flores200/dev --languages deu,swh --out bench`
    """
    from xalign.cli.loading import load_model, load_text
    from xalign.errors import ArgumentError
    from xalign.judging.bench import bench_steering

    file = out / "bench.json"
    if file.exists() and not overwrite:
        raise ArgumentError(f"out={str(out)!r} holds a bench already; give another folder, or --overwrite")
    text = load_text(pairs, languages, pivot, n)
    loaded, tokenizer = load_model(
        model,
        revision=revision,
        dtype=dtype.value,  # type: ignore[arg-type]
        device=device,
        trust_remote_code=trust_remote_code,
        progress=sys.stderr.isatty(),
    )
    output = Output(json)
    standing = bench_steering(
        *(loaded, tokenizer, text, None if methods is None else listed(methods)),
        prompt=prompt,
        generation=_generation(tokenizer, max_new_tokens, stop),
        seeds=seeds,
        on_result=lambda row: output.say(_said(row)) if row["arm"] == "own" else None,
    )
    output.show(standing.table(), standing.ranking())
    _write(output, standing, file)


def _generation(tokenizer: Any, max_new_tokens: int, stop: str | None) -> dict[str, Any]:
    """Return the arguments of `generate`."""
    from xalign.checks import whole_number
    from xalign.errors import ArgumentError

    generation: dict[str, Any] = {"max_new_tokens": whole_number("max_new_tokens", max_new_tokens, least=1)}
    if stop is not None:
        known = tokenizer.get_vocab()
        if stop not in known:
            raise ArgumentError(
                f"stop={stop!r:.60} is no token of this tokenizer; give one token as it has it"
            )
        ends = [tokenizer.eos_token_id, known[stop]]
        generation["eos_token_id"] = [one for one in ends if one is not None]
    return generation


def _said(row: dict[str, Any]) -> str:
    shares = f"{row['language']:.0%} in the language, {row['meaning']:.0%} keep the meaning"
    return f"seed {row['seed']}, {row['contestant']}, {row['label']}: {shares}"


def _write(output: Output, standing: "Standing", file: Path) -> None:
    """Write the rows, and the picture where it can be drawn."""
    from xalign.errors import ReportError
    from xalign.storage import writable_folder
    from xalign.views.picture import save_picture
    from xalign.views.ranking import ranking

    writable_folder(file.parent, ReportError)
    output.say(f"wrote {standing.save(file)}")
    try:
        figure = ranking(standing.ranking())
    except ImportError:
        from xalign.extras import install_command

        output.say(f"no picture: matplotlib is not installed; {install_command('plot')}")
        return
    output.say(f"wrote {save_picture(figure, file.with_suffix('.png'))}")
