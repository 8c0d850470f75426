"""`xalign doctor`."""

import platform
from importlib.metadata import PackageNotFoundError, version

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

NEEDED = ["torch", "transformers", "safetensors", "numpy", "scipy"]
EXTRAS = {
    "train": ["accelerate", "peft", "trl", "datasets"],
    "wandb": ["wandb"],
    "trackio": ["trackio"],
    "data": ["datasets"],
    "plot": ["matplotlib"],
}


def doctor() -> None:
    """Show versions, devices, and which extras are installed."""
    import torch

    from xalign.pairs.load import load_pairs

    table = Table(box=SIMPLE_HEAD, padding=0)
    for header in ("what", "found"):
        table.add_column(header)
    for name in ("xalign", *NEEDED):
        table.add_row(name, version(name))
    table.add_row("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    table.add_section()
    for extra, packages in EXTRAS.items():
        found = {package: _version(package) for package in packages}
        complete = all(found.values())
        listed = ", ".join(f"{package} {number or 'missing'}" for package, number in found.items())
        table.add_row(
            f"xalign\\[{extra}]", listed if complete else f"{listed}: pip install 'xalign\\[{extra}]'"
        )
    table.add_section()
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    table.add_row("devices", ", ".join(["cpu", *gpus]) + f" ({torch.get_num_threads()} threads)")
    bundled = load_pairs("bundled")
    table.add_row("bundled sentences", f"{len(bundled['deu_Latn'])} in {bundled.pivot}, {', '.join(bundled)}")
    Console().print(table)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
