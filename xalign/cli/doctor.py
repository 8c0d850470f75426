"""`xalign doctor`."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from xalign.cli.options import Json
from xalign.cli.output import Output

NEEDED = ["torch", "transformers", "safetensors", "numpy", "scipy"]
EXTRAS = {
    "train": ["accelerate", "peft", "trl", "datasets"],
    "demo": ["accelerate", "matplotlib"],
    "wandb": ["wandb"],
    "trackio": ["trackio"],
    "data": ["datasets"],
    "plot": ["matplotlib"],
}


def doctor(json: Json = False) -> None:
    """Show versions, devices, and which extras are installed."""
    found = _found()
    Output(json).show(_table(found), found)


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
    from xalign.extras import install_command

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
        table.add_row(escape(f"xalign[{extra}]"), escape(listed + hint))
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
