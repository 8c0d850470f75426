"""`xalign doctor [MODEL]`."""

import platform
import sys
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from inspect import signature
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from xalign.cli.advice import as_typed
from xalign.cli.options import (
    METRICS,
    Device,
    Dtype,
    DtypeName,
    Experts,
    ExpertsName,
    FirstPairs,
    IncludeEmbedding,
    Json,
    Languages,
    MaxLength,
    MetricList,
    NeuronSiteName,
    Pairs,
    Pivot,
    PoolName,
    PoolOfTokens,
    PoolSpecialTokens,
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
    from xalign.measurement.diagnosis import Diagnosis

NEEDED = ["torch", "transformers", "safetensors", "numpy", "scipy"]
EXTRAS = {
    "train": ["accelerate", "peft", "trl", "datasets"],
    "demo": ["accelerate", "matplotlib"],
    "wandb": ["wandb"],
    "trackio": ["trackio"],
    "data": ["datasets"],
    "plot": ["matplotlib"],
    "gguf": ["gguf"],
    "langid": ["py3langid"],
    "scale": ["datatrove", "pyarrow"],
}


def doctor(
    model: Annotated[
        str | None, typer.Argument(help="Hub id or folder of a model; without one, what is installed.")
    ] = None,
    pairs: Pairs = "bundled",
    languages: Languages = None,
    pivot: Pivot = "eng_Latn",
    n: FirstPairs = None,
    metrics: MetricList = METRICS,
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
    revision: Revision = None,
    dtype: Dtype = DtypeName.auto,
    device: Device = "auto",
    trust_remote_code: TrustRemoteCode = False,
    json: Json = False,
) -> None:
    """Say what `xalign measure` would read in a model, refuse, and cost; or show what is installed.

    With MODEL: its blocks and what is found in each, what the tokenizer makes of each language, what is
    refused and the remedy, and the seconds and the memory to expect. It takes the options of `measure`, runs
    a few sentences and one batch, and writes nothing. The exit code is 1 where `measure` would refuse.

    Example: `xalign doctor Qwen/Qwen3-0.6B --pairs flores200/devtest --languages deu,swh`
    """
    from xalign.cli.loading import check_text, load_model, load_text, measure_options
    from xalign.errors import ArgumentError
    from xalign.measurement.diagnosis import diagnose

    given = locals()
    if model is None:
        typed = [name for name, one in signature(doctor).parameters.items() if given[name] != one.default]
        of_model = [f"--{name.replace('_', '-')}" for name in typed if name != "json"]
        if of_model:
            raise ArgumentError(f"{', '.join(of_model)}: of a model; name it, like xalign doctor MODEL")
        Output(json).show(_table(found := _found()), found)
        return
    check_text("template", template)
    text = load_text(pairs, languages, pivot, n)
    common: Any = {"revision": revision, "dtype": dtype.value, "trust_remote_code": trust_remote_code}
    common["is_audio"] = text.is_audio
    loaded = load_model(model, **common, device=device, progress=sys.stderr.isatty())
    found_in = diagnose(*loaded, text, listed(metrics), **measure_options(given))
    _show(found_in, Output(json))


def _show(diagnosis: "Diagnosis", output: Output) -> None:
    """Print a diagnosis, whose remedies are spelled as they are typed; fail where it refuses."""
    names = list(signature(doctor).parameters)
    refusals = tuple(
        replace(one, reason=as_typed(one.reason, names), remedy=as_typed(f" {one.remedy}", names)[1:])
        for one in diagnosis.refusals
    )
    shown = replace(diagnosis, refusals=refusals)
    output.show(Text(str(shown)), shown.to_dict())
    if not shown.is_measurable:
        raise typer.Exit(1)


def _found() -> dict[str, Any]:
    """Return what is installed here."""
    import torch

    from xalign.extras import distribution_name
    from xalign.pairs.load import load_pairs

    bundled = load_pairs("bundled")
    return {
        "versions": {"xalign": _version(distribution_name())} | {name: _version(name) for name in NEEDED},
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "extras": {
            extra: {package: _version(package) for package in packages} for extra, packages in EXTRAS.items()
        },
        "devices": [
            "cpu",
            *(torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())),
        ],
        "threads": torch.get_num_threads(),
        "bundled": {"sentences": len(bundled["deu_Latn"]), "pivot": bundled.pivot, "languages": [*bundled]},
    }


def _table(found: dict[str, Any]) -> Table:
    """Return what is installed as a table."""
    from xalign.extras import distribution_name, install_command

    table = Table(box=SIMPLE_HEAD, padding=0)
    for header in ("what", "found"):
        table.add_column(header, overflow="fold")
    for name, number in found["versions"].items():
        table.add_row(name, number or "missing")
    table.add_row("python", found["python"])
    table.add_section()
    for extra, packages in found["extras"].items():
        listed = ", ".join(f"{package} {number or 'missing'}" for package, number in packages.items())
        hint = "" if all(packages.values()) else f": {install_command(extra)}"
        table.add_row(escape(f"{distribution_name()}[{extra}]"), escape(listed + hint))
    table.add_section()
    table.add_row("devices", f"{', '.join(found['devices'])} ({found['threads']} threads)")
    bundled = found["bundled"]
    languages = ", ".join(bundled["languages"])
    table.add_row("bundled sentences", f"{bundled['sentences']} in {bundled['pivot']}, {languages}")
    return table


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
