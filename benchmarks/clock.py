"""Time and memory on either device, in runs that alternate, and what is written down of them."""

import argparse
import json
import platform
import re
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """Return the CPU time of a call on the CPU, and the wall time until a CUDA device is done with it."""
    if device.type == "cpu":
        started = time.process_time()
        call()
        return time.process_time() - started
    torch.cuda.synchronize(device)
    started = time.perf_counter()
    call()
    torch.cuda.synchronize(device)
    return time.perf_counter() - started


def alternate(
    calls: Mapping[str, Callable[[], object]], runs: int, device: torch.device, *, warm: bool = True
) -> dict[str, list[float]]:
    """Time calls in turn, so that other load meets all of them; with `warm`, after an untimed run."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for run in range(0 if warm else 1, runs + 1):
        names = list(calls) if run % 2 else list(reversed(calls))
        for name in names:
            found = seconds(calls[name], device)
            if run:
                taken[name].append(found)
    return taken


def ratio(taken: Mapping[str, list[float]], over: str, under: str) -> dict[str, float]:
    """Return the median over runs of one time divided by another, and the smallest and largest."""
    ratios = [one / other for one, other in zip(taken[over], taken[under], strict=True)]
    return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}


def peak_bytes(call: Callable[[], object], device: torch.device) -> int:
    """Return how much memory a call takes at most, over what is taken before it.

    On the CPU that is the memory of the process, as Linux counts it; -1 where it does not.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
        before = resident("VmRSS")
    except OSError:
        call()
        return -1
    call()
    return resident("VmHWM") - before


def resident(name: str) -> int:
    """Return a size of this process in bytes, by Linux's name for it; -1 where there is none."""
    found = re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 if found else -1


def machine(device: torch.device) -> dict[str, Any]:
    """Return what the numbers were measured with."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    versions = {one: version(one) for one in ("torch", "transformers", "numpy")}
    return {
        "device": name,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
        **versions,
    }


def parser_of(text: str | None) -> argparse.ArgumentParser:
    """Return a command line with the options that benchmarks of speed share; `text` is their docstring."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--out", type=Path, help="write the results there, as JSON")
    parser.add_argument("--smoke", action="store_true", help="tiny models and one run, to check the program")
    return parser


def write(path: Path | None, result: Mapping[str, Any]) -> None:
    """Write a result as JSON, where a path is given."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
