"""The sweep: what xalign finds in every specimen of the zoo.

    python -m tests.architectures.sweep                     a line per class, and sums at the end
    python -m tests.architectures.sweep llama bert          some model types alone
    python -m tests.architectures.sweep --write             docs/models.md too
    python -m tests.architectures.sweep --save rows.json    the rows too, with widths and times

It runs in a process of its own and takes about 1.5 CPU-minutes. Each specimen is built and mapped in a child
of that process, so that none can end the others; one that takes longer than ALARM seconds is ended.
"""

import argparse
import gc
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "models.md"
KINDS = ("hidden", "gate", "inner", "attn_out", "mlp_out")
EXPERTS = "expert_inner"
ALARM = 120


@dataclass
class Row:
    """What was found in one specimen.

    Attributes:
        proved: The kinds that have sites.
        reason: Why the first kind that is missing was refused.
        checks: Implementation -> what was found of the experts.
        widths: Kind -> the widths of its sites.
        failed: Why the specimen could not be built or run; then nothing else is known of it.
        forward_ms: Milliseconds of one forward.
        map_ms: Milliseconds of `map_model`, the first time that it sees the model.
        operations: Operations that were traced in a forward.
        experts: Why its experts cannot be read; empty where they can, None where it is no mixture.
    """

    model_type: str
    class_name: str
    family: str
    proved: list[str] = field(default_factory=list)
    reason: str = ""
    checks: dict[str, Any] = field(default_factory=dict)
    widths: dict[str, list[int]] = field(default_factory=dict)
    failed: str = ""
    forward_ms: float = 0.0
    map_ms: float = 0.0
    operations: int = 0
    experts: str | None = None

    def __str__(self) -> str:
        found = self.failed or ", ".join(self.proved) or "nothing"
        times = "" if self.failed else f" ({self.forward_ms:.0f} ms forward, {self.map_ms:.0f} ms map)"
        return f"{self.model_type}:{self.class_name}: {found}{times} {self.reason}".rstrip()


def sweep(names: Iterable[str] = (), build_only: bool = False, experts: bool = False) -> list[Row]:
    """Sweep the specimens of these model types in a process of its own, or all of them.

    Args:
        names: Model types or `model_type:class`; all where there are none.
        build_only: Only build each specimen and run it, twice and with different inputs.
        experts: Read and write the experts of mixtures instead, each class once.
    """
    command = [sys.executable, "-m", "tests.architectures.sweep", "--json", *names]
    done = subprocess.run(
        [*command, *(["--build-only"] if build_only else []), *(["--experts"] if experts else [])],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [Row(**json.loads(line)) for line in done.stdout.splitlines() if line.startswith("{")]


def run_one(specimen: Any) -> dict[str, Any]:
    """Build a specimen and run it with two inputs."""
    from tests.architectures.zoo import run

    model, inputs = specimen.build()
    start = time.process_time()
    run(model, inputs)
    taken = time.process_time() - start
    run(model, specimen.other_inputs(inputs, seed=1))
    return {"forward_ms": taken * 1e3}


def map_one(specimen: Any) -> dict[str, Any]:
    """Build a specimen and map it; ask for every kind, and for the place of every site."""
    import xalign
    from tests.architectures.zoo import run
    from xalign.model.architectures import proved

    traced: list[int] = []
    trace = proved.trace

    def counted(*arguments: Any) -> Any:
        found = trace(*arguments)
        traced.append(len(found.nodes))
        return found

    proved.trace = counted
    model, inputs = specimen.build()
    run(model, inputs)  # the first forward of a process is slower
    start = time.process_time()
    run(model, inputs)
    middle = time.process_time()
    found: dict[str, Any] = {"forward_ms": (middle - start) * 1e3, "proved": [], "widths": {}, "reason": ""}
    try:
        model_map = xalign.map_model(model)
    except xalign.XAlignError as error:
        return found | {"reason": str(error)}
    finally:
        found["map_ms"] = (time.process_time() - middle) * 1e3
        found["operations"] = sum(traced)
    found["experts"] = _why_no_experts(model_map)
    for kind in KINDS:
        try:
            widths = sorted({model_map.place(site).width for site in model_map.sites(kind)})
        except xalign.XAlignError as error:
            found["reason"] = found["reason"] or str(error)
        else:
            found["proved"].append(kind)
            found["widths"][kind] = widths
    return found


def _why_no_experts(model_map: Any) -> str | None:
    """Return why experts cannot be read; empty where they can in some stack, None where there are none."""
    reasons = [reason for stack in model_map.stacks for reason in model_map.mixtures(stack).values()]
    return None if not reasons else "" if "" in reasons else reasons[0]


def read_experts(specimen: Any) -> dict[str, Any]:
    """Read and write the experts of a specimen in each implementation, and compare with their weights."""
    from tests.architectures.expert_checks import every_implementation

    model, inputs = specimen.build()
    return every_implementation(model, inputs)


def in_child(specimen: Any, work: Callable[[Any], dict[str, Any]]) -> Row:
    """Run `work` on a specimen in a child of this process."""
    readable, writable = os.pipe()
    child = os.fork()
    if not child:
        os.close(readable)
        _report(writable, specimen, work)
    os.close(writable)
    with os.fdopen(readable, "rb") as pipe:
        data = pipe.read()
    status = os.waitpid(child, 0)[1]
    found = json.loads(data) if data else {"failed": f"its process ended with status {status}"}
    return Row(specimen.model_type, specimen.class_name, specimen.family, **found)


def _report(writable: int, specimen: Any, work: Callable[[Any], dict[str, Any]]) -> None:
    signal.alarm(ALARM)
    try:
        found = work(specimen)
    except BaseException as error:
        found = {"failed": f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]}
    with os.fdopen(writable, "wb") as pipe:
        pipe.write(json.dumps(found).encode())
    os._exit(0)


def _rows(names: list[str], work: Callable[[Any], dict[str, Any]], mixtures: bool = False) -> Iterable[Row]:
    import torch
    import transformers

    from tests.architectures.zoo import zoo

    torch.set_num_threads(1)
    specimens = zoo()
    # What mapping imports is imported here, once. A child would import it anew, and count it as mapping.
    map_one(next(specimen for specimen in specimens if specimen.model_type == "llama"))
    seen: set[str] = set()
    for specimen in specimens:
        if mixtures and (specimen.class_name in seen or not _may_hold_experts(specimen)):
            continue
        seen.add(specimen.class_name)
        if not names or specimen.model_type in names or str(specimen) in names:
            getattr(transformers, specimen.class_name, None)  # imported once, not in each child
            gc.collect()
            gc.freeze()
            yield in_child(specimen, work)


def _may_hold_experts(specimen: Any) -> bool:
    """Whether the code of a class, or of the model types that its config holds, speaks of experts."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    from tests.architectures.tiny_config import tiny_config
    from tests.architectures.zoo_configs import OF_CLASS

    try:
        config = tiny_config(CONFIG_MAPPING[specimen.model_type], **OF_CLASS.get(specimen.class_name, {}))
    except Exception:
        return False
    return "expert" in str(config)


def _silence() -> None:
    """Warnings of tiny sizes say nothing, and docstrings are most of the time that an import takes."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    warnings.simplefilter("ignore")
    import transformers.utils

    transformers.utils.auto_docstring = lambda one=None, **_: (lambda other: other) if one is None else one


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--build-only", action="store_true")
    parser.add_argument("--experts", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save", type=Path)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    _silence()
    rows = []
    work = run_one if given.build_only else read_experts if given.experts else map_one
    for row in _rows(given.names, work, given.experts):
        rows.append(row)
        print(json.dumps(asdict(row)) if given.json else row, flush=True)
    if given.save:
        given.save.write_text(json.dumps([asdict(row) for row in rows], indent=1), encoding="utf-8")
    if given.write:
        from tests.architectures.models_page import page

        assert not given.names, "docs/models.md shows all model types; leave the names out"
        PAGE.write_text(page(rows), encoding="utf-8")
    if not given.json:
        times = os.times()
        spent = sum((times.user, times.system, times.children_user, times.children_system))
        full = sum(set(KINDS) <= set(row.proved) for row in rows)
        neurons = sum({"gate", "inner"} <= set(row.proved) for row in rows)
        others = sum(row.experts == "" and not {"gate", "inner"} <= set(row.proved) for row in rows)
        ran = sum(not row.failed for row in rows)
        print(
            f"{ran} of {len(rows)} ran; all kinds {full}, neurons {neurons} and {others} of experts alone; "
            f"{spent / 60:.1f} CPU-minutes"
        )


if __name__ == "__main__":
    main()
